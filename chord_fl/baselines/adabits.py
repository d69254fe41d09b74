"""AdaBits: one set of weights that serves several bit-widths (Jin, Yang and Liao, CVPR 2020; the paper's [17]).

Taken: joint training of all bit-widths on the same weights (their losses are averaged in every step), and a switchable
clipping level: each layer learns one level for each bit-width (§3.3 and §3.4 there). Deployed at 3 bits.
Deviates: the levels there clip activations (PACT), which are in full precision here, so that they clip the weights
instead: a share of each channel's own range, learned per layer and bit-width through the rounding (straight-through).
Quantisation is affine per channel as in this project's other methods, where the original rescales weights as DoReFa
does; training begins at random weights.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from chord_fl.baselines.base import Baseline, rounded
from chord_fl.models.matrices import Coded, Matrix
from chord_fl.models.spec import ModelSpec
from chord_fl.quantization.affine import Quantised

WIDTHS = (2, 3, 4)  # trained jointly: the target and its neighbours
BITS = 3  # deployed: Avg Bits of the paper's Table 2
START = 4.0  # logit of the share of a channel's range that is kept at first: 98 %


def clipped(weights: Tensor, share: Tensor, bits: int) -> tuple[Tensor, Tensor, Tensor]:
    """Codes [out, in], scales [out] and zero points [out] of `weights` [out, in] at `bits`, all float32.

    As `affine.quantise` does it, after the range of each channel is cut down to `share` (a scalar in 0..1) of itself.
    Gradients reach `weights` inside the range, and `share`.
    """
    top = 2.0**bits - 1
    low = weights.detach().amin(-1).clamp(max=0.0)
    high = weights.detach().amax(-1).clamp(min=0.0)
    scale = share * (high - low) / top
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    zero_point = (-share.detach() * low / scale.detach()).round().clamp(max=top)
    codes = (rounded(weights / scale[:, None]) + zero_point[:, None]).clamp(0.0, top)
    return codes, scale, zero_point


class AdaBits(Baseline):
    """Weights shared by 2, 3 and 4 bits, and a clipping level per layer and bit-width."""

    bits = BITS

    def __init__(self, spec: ModelSpec, dropout: float = 0.0) -> None:
        super().__init__(spec, dropout)
        self.weights = nn.ParameterList(nn.Parameter(weight) for weight in spec.frozen_weights())
        self.levels = nn.Parameter(torch.full((len(self.weights), len(WIDTHS)), START))

    def training_passes(self, history: Tensor, windows: Tensor) -> Iterator[Tensor]:
        """States [N, w, d] at each of the bit-widths."""
        for bits in WIDTHS:
            yield self.states(windows, self.at(bits))

    def at(self, bits: int) -> list[Tensor]:
        """The float32 weights [out, in] of every layer at one of `WIDTHS`."""
        return [(codes - zero_point[:, None]) * scale[:, None] for codes, scale, zero_point in self._codes(bits)]

    def deployed(self) -> list[Tensor]:
        """The weights at 3 bits."""
        return self.at(BITS)

    @torch.no_grad()
    def matrices(self) -> list[Matrix]:
        """Codes of 3 bits."""
        return [
            Coded((Quantised(codes.to(torch.uint8).cpu(), scale.cpu(), zero_point.to(torch.uint8).cpu()),), BITS)
            for codes, scale, zero_point in self._codes(BITS)
        ]

    def _codes(self, bits: int) -> list[tuple[Tensor, Tensor, Tensor]]:
        shares = self.levels[:, WIDTHS.index(bits)].sigmoid()
        return [clipped(weight, share, bits) for weight, share in zip(self.weights, shares, strict=True)]
