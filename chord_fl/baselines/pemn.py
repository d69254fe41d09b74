"""PEMN: masks over fixed random weights with few unique values (Bai et al., NeurIPS 2022; the paper's [1]).

Taken: every matrix is filled by repeating one short random vector (random weights padding), and only a binary mask per
matrix is learned, through scores of which the highest are kept (straight-through, as in edge-popup: Ramanujan et al.,
2020). The vector comes from the seed, so that the masks alone travel: one bit per weight.
Deviates: embeddings, biases and LayerNorms are trained as everywhere in this project; each layer's copy of the vector
is scaled to Xavier's range.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from chord_fl.baselines.base import Baseline
from chord_fl.models.frozen import KEPT, repeated_weights
from chord_fl.models.layouts import Layout
from chord_fl.models.matrices import Masked, Matrix
from chord_fl.models.spec import ModelSpec
from chord_fl.wire.param import masked_mbit

BITS = 1  # of a mask, per weight


class _Highest(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor) -> Tensor:
        flat = torch.zeros_like(scores).flatten()
        flat[scores.flatten().topk(round(KEPT * scores.numel())).indices] = 1.0
        return flat.view_as(scores)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


def highest(scores: Tensor) -> Tensor:
    """Float32 mask of the layer's `scores` [out, in]: 1 for the highest half. Straight-through."""
    mask: Tensor = _Highest.apply(scores)
    return mask


class PEMN(Baseline):
    """A score for every weight; the weights themselves never change."""

    bits = BITS

    def __init__(self, spec: ModelSpec, dropout: float = 0.0) -> None:
        super().__init__(spec, dropout)
        fixed = repeated_weights(spec.layout, spec.frozen_seed, spec.frozen_scale)
        self.scores = nn.ParameterList()
        for index, weight in enumerate(fixed):
            self.register_buffer(f"_fixed{index}", weight, persistent=False)
            # only the order of scores counts; this range sets how fast the optimiser's steps can change it
            reach = 1 / math.sqrt(weight.shape[1])
            self.scores.append(nn.Parameter(torch.empty_like(weight).uniform_(-reach, reach)))

    @classmethod
    def param_mbit(cls, layout: Layout) -> float:
        """2·W + 32·B, as the paper books it, though a mask takes one bit per weight."""
        return masked_mbit(layout)

    def deployed(self) -> list[Tensor]:
        """The weights that the masks leave, zero elsewhere."""
        return [highest(scores) * self.get_buffer(f"_fixed{index}") for index, scores in enumerate(self.scores)]

    @torch.no_grad()
    def matrices(self) -> list[Matrix]:
        """The masks."""
        return [Masked(highest(scores).to(torch.bool).cpu()) for scores in self.scores]
