"""Caser (Tang and Wang, 2018): convolutions over the matrix of the last items' embeddings.

Horizontal filters of heights 1 to 5 slide over the window and keep their greatest response; vertical filters weigh the
items of the window, dimension by dimension. The module holds what the cloud trains and ships once (item embeddings,
biases, output layer); the filters are arguments, as SASRec's matrices are.

Three deviations from the original: there is no embedding per user, since a plan is to be all that tells one device from
another; candidates are scored by the item embeddings themselves; and the output layer has no ReLU, behind which such
scores could point into one orthant only. Switchable biases, of which a plan chooses one per channel, act behind
rectifier, maximum and dropout: there nothing cuts off or drops what a plan says of its user (results/personalisation).
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from chord_fl.models import layouts
from chord_fl.models.backbone import Backbone
from chord_fl.models.layouts import CASER_FILTERS, CASER_HEIGHTS, CASER_VERTICAL, Layout
from chord_fl.models.linear import linear
from chord_fl.quantization.activations import Activations

if TYPE_CHECKING:
    from chord_fl.models.spec import ModelSpec

SPAN = 10  # targets of a training sequence: as many as SASRec's default window has


class Caser(Backbone):
    """The shared part of the backbone."""

    def __init__(
        self,
        items: int,
        window: int,
        dim: int,
        dropout: float = 0.0,
        activation_bits: int = 32,
        bias_rows: tuple[int, ...] = (),
    ) -> None:
        super().__init__()
        self.window, self.dim = window, dim
        self.items = nn.Embedding(items + 1, dim, padding_idx=0)
        layers = layouts.caser(window, dim).layers
        self.switchable = bool(bias_rows)
        self.biases = nn.ParameterList(torch.zeros(*bias_rows, layer.channels) for layer in layers)
        self.output = nn.Linear(CASER_FILTERS * (len(layers) - 1) + CASER_VERTICAL * dim, dim)
        self.activations = Activations(len(layers), activation_bits)
        self.dropout = nn.Dropout(dropout)
        nn.init.normal_(self.items.weight, std=1.0 / math.sqrt(dim))
        with torch.no_grad():
            self.items.weight[0].zero_()

    def forward(self, windows: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor] | None = None) -> Tensor:
        """States [N, T - w + 1, d] after each whole window of `windows` [N, T >= w] int64.

        See `models.linear` for the forms of `weights`; `biases` stands in for the shared ones where every device has
        its own [B, out] (fine-tuning, and switchable biases, which are always given).
        """
        biases = list(self.biases) if biases is None else biases
        inside = [None] * len(biases) if self.switchable else biases
        embedded = self.items(windows)
        responses = []
        for index, height in enumerate(CASER_HEIGHTS[: self.window]):
            stretches = embedded.unfold(1, height, 1).transpose(2, 3).flatten(2)  # [N, T - h + 1, h·d]
            found = F.relu(linear(self.activations(index, stretches), weights[index], inside[index]))
            responses.append(F.max_pool1d(found.transpose(1, 2), self.window - height + 1, 1).transpose(1, 2))
        whole = embedded.unfold(1, self.window, 1)  # [N, T - w + 1, d, w]
        vertical = linear(self.activations(len(responses), whole).flatten(1, 2), weights[-1], inside[-1])
        responses.append(vertical.reshape(*whole.shape[:2], -1))
        together = self.dropout(torch.cat(responses, dim=-1))
        if self.switchable:
            shifts = torch.cat([*biases[:-1], biases[-1].repeat(1, self.dim)], dim=1)  # [B, F]
            together = together + shifts.repeat_interleave(len(together) // len(shifts), 0)[:, None]
        states: Tensor = self.output(together)
        return states


def build(spec: "ModelSpec", dropout: float) -> Caser:
    """A backbone of this shape with fresh shared parameters."""
    return Caser(spec.items, spec.window, spec.dim, dropout, spec.activation_bits, spec.bias_rows)


def layout(spec: "ModelSpec") -> Layout:
    """The frozen layers."""
    return layouts.caser(spec.window, spec.dim)


def lead(spec: "ModelSpec") -> int:
    """All but one item of a window: there is one state for a whole one."""
    return spec.window - 1


def span(spec: "ModelSpec") -> int:
    """As many targets as SASRec's default window has."""
    return SPAN


def operations(spec: "ModelSpec", length: int) -> int:
    """The filters at each place of `length` items, and the output layer for every whole window."""
    windows = length - spec.window + 1
    *horizontal, vertical = layout(spec).layers
    stretches = sum(2 * (length - layer.size // spec.dim + 1) * layer.channels * layer.size for layer in horizontal)
    wide = CASER_FILTERS * len(horizontal) + CASER_VERTICAL * spec.dim
    return stretches + windows * (2 * spec.dim * vertical.channels * vertical.size + 2 * wide * spec.dim)
