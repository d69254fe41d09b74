"""Uniform affine quantisation, min-max per channel: stateless functions on tensors.

A channel's range always includes zero, so that zero is represented exactly, its zero point fits in the codes, and a
constant channel keeps its value up to a rounding of float32. Scale and zero point come from the channel's own weights
(paper, eq. 3).
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Quantised(NamedTuple):
    """Integer codes of channels and what turns them back into weights."""

    codes: Tensor  # [..., n] uint8, 0 .. 2^bits - 1
    scale: Tensor  # [...] float32, above 0
    zero_point: Tensor  # [...] uint8, 0 .. 2^bits - 1


def quantise(weights: Tensor, bits: Tensor | int) -> Quantised:
    """Quantise the channels `weights` [..., n] to `bits` (1..8; one integer, or a tensor [...] with one per channel).

    Raises ValueError for non-finite weights and for bits outside 1..8.
    """
    if not bool(torch.isfinite(weights).all()):
        raise ValueError("weights must be finite")
    widths = torch.as_tensor(bits, device=weights.device).expand(weights.shape[:-1])
    if bool(((widths < 1) | (widths > 8)).any()):
        raise ValueError("bits must be within 1..8")
    top = 2.0 ** widths.to(torch.float32) - 1
    low = weights.amin(-1).clamp(max=0.0)
    high = weights.amax(-1).clamp(min=0.0)
    scale = (high - low) / top
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    zero_point = torch.minimum((-low / scale).round(), top)
    codes = (weights / scale[..., None]).round() + zero_point[..., None]
    codes = torch.minimum(codes.clamp(min=0.0), top[..., None])
    return Quantised(codes.to(torch.uint8), scale, zero_point.to(torch.uint8))


def dequantise(quantised: Quantised) -> Tensor:
    """The float32 weights [..., n] that the codes stand for."""
    codes, scale, zero_point = quantised
    return (codes.to(torch.float32) - zero_point.to(torch.float32)[..., None]) * scale[..., None]


def fake_quantise(weights: Tensor, bits: Tensor | int) -> Tensor:
    """Weights [..., n] rounded to what `bits` can represent, still float32."""
    return dequantise(quantise(weights, bits))
