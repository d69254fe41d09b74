"""What the baselines share: the backbone, their place in training, and rounding that lets gradients through."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from chord_fl.errors import ChordError
from chord_fl.models.layouts import Layout
from chord_fl.models.matrices import Matrix
from chord_fl.models.spec import ModelSpec
from chord_fl.quantization.affine import fake_quantise
from chord_fl.wire.param import quantised_mbit


class _Rounded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return values.round()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


class _Quantised(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weights: Tensor, bits: int) -> Tensor:
        return fake_quantise(weights, bits)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def rounded(values: Tensor) -> Tensor:
    """Nearest integers; the gradient passes as if nothing had been rounded (straight-through)."""
    result: Tensor = _Rounded.apply(values)
    return result


def quantised(weights: Tensor, bits: int) -> Tensor:
    """Channels [..., n] rounded to `bits` bits, min-max; the gradient passes as if they had not been.

    Forward it is `fake_quantise`, bit for bit what a device makes of the codes. Raises ChordError for weights that are
    no longer finite.
    """
    try:
        result: Tensor = _Quantised.apply(weights, bits)
    except ValueError as error:
        raise ChordError(f"training diverged ({error}): lower train.learning_rate") from error
    return result


class Baseline(nn.Module):
    """A backbone whose matrices are trained on the cloud in the form in which they are deployed.

    A subclass says its `bits`, and what it computes with and ships: `deployed` and `matrices`.
    """

    bits: ClassVar[int]  # per weight as deployed, on average: Avg Bits of the paper's Table 2

    def __init__(self, spec: ModelSpec, dropout: float = 0.0) -> None:
        super().__init__()
        self.spec = spec
        self.backbone = spec.build_backbone(dropout)

    @classmethod
    def param_mbit(cls, layout: Layout) -> float:
        """Param of the paper's Table 2: bits·W + 32·B."""
        return quantised_mbit(layout, cls.bits)

    @abstractmethod
    def deployed(self) -> list[Tensor]:
        """The float32 weights [out, in] of every layer as a device computes with them, with their gradients."""

    @abstractmethod
    def matrices(self) -> list[Matrix]:
        """What ships: one matrix per layer."""

    def forward(self, history: Tensor, windows: Tensor) -> Tensor:
        """States [N, w, d] of `windows` [N, w] as deployed; `history` goes unused: nothing is personalised."""
        return self.states(windows, self.deployed())

    def states(self, windows: Tensor, weights: Sequence[Tensor]) -> Tensor:
        """States [N, w, d] of `windows` [N, w] under `weights` [out, in] per layer."""
        states: Tensor = self.backbone(windows, list(weights))
        return states
