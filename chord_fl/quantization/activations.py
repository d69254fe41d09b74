"""Quantised activations (paper, §4.4.4, Table 5): what a frozen layer reads, rounded to b bits, one range per layer.

The ranges are running means of the least and the greatest input of a training batch; the cloud ships them with the
other shared parameters, so that a device computes the same alone and in any company.
"""

import torch
from torch import Tensor, nn

FULL_PRECISION = 32
_MOMENTUM = 0.1  # of the running ranges


class Activations(nn.Module):
    """Rounds the inputs of `layers` frozen layers to `bits` bits; with 32 it leaves them alone and holds nothing."""

    low: Tensor
    high: Tensor

    def __init__(self, layers: int, bits: int) -> None:
        super().__init__()
        self.bits = bits
        if bits < FULL_PRECISION:
            self.register_buffer("low", torch.zeros(layers))
            self.register_buffer("high", torch.zeros(layers))

    def forward(self, layer: int, inputs: Tensor) -> Tensor:
        """`inputs` of any shape as layer number `layer` reads them; straight-through inside the range."""
        if self.bits >= FULL_PRECISION:
            return inputs
        if self.training:
            self._observe(layer, inputs.detach())
        # copies: autograd keeps them, and the next layer's observation changes the buffers
        low, high = self.low[layer].clone(), self.high[layer].clone()
        top = 2.0**self.bits - 1
        scale = ((high - low) / top).clamp(min=1e-12)
        zero_point = (-low / scale).round()
        within = inputs.clamp(low, high)
        rounded = (((within / scale).round() + zero_point).clamp(0, top) - zero_point) * scale
        return within + (rounded - within).detach()

    def _observe(self, layer: int, inputs: Tensor) -> None:
        # zero belongs to every range, so that padding and inactive units stay exact
        low, high = inputs.amin().clamp(max=0.0), inputs.amax().clamp(min=0.0)
        share = _MOMENTUM if bool(self.high[layer] > self.low[layer]) else 1.0
        self.low[layer] += share * (low - self.low[layer])
        self.high[layer] += share * (high - self.high[layer])
