"""Quant: uniform affine quantisation, trained with it (Krishnamoorthi, 2018, arXiv 1806.08342; the paper's [20]).

Taken: the affine quantiser with a zero point, min-max ranges, one scale per channel of the weights, and
quantisation-aware training with the straight-through estimator (§2.1, §2.4 and §3.2 there). Activations are quantised
per layer by the backbone, if at all (`model.activation_bits`).
Deviates: the ranges are those of the weights at every step (no moving averages), training begins at random weights
instead of a full-precision model, and there is no batch normalisation to fold.
"""

from torch import Tensor, nn

from chord_fl.baselines.base import Baseline, quantised
from chord_fl.models.matrices import Matrix, coded
from chord_fl.models.spec import ModelSpec

BITS = 3  # Avg Bits of the paper's Table 2


class Quant(Baseline):
    """One matrix per layer, 3 bits everywhere."""

    bits = BITS

    def __init__(self, spec: ModelSpec, dropout: float = 0.0) -> None:
        super().__init__(spec, dropout)
        self.weights = nn.ParameterList(nn.Parameter(weight) for weight in spec.frozen_weights())

    def deployed(self) -> list[Tensor]:
        """The quantised weights."""
        return [quantised(weight, BITS) for weight in self.weights]

    def matrices(self) -> list[Matrix]:
        """Codes of 3 bits."""
        return [coded([weight], BITS) for weight in self.weights]
