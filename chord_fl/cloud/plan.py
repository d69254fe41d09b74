"""From importance to a plan: Γ ranks the channels of each layer into tiers, Λ moves whole layers up or down a step.

Codes are 0..3, positions on the ladder of bit-widths. Γ hands out 3 (8 bits), 1 (4 bits) and 0 (2 bits); code 2
(6 bits) comes from Λ alone (paper, §3.4).
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from chord_fl.models.layouts import Layout

LEVELS = 4


class Plan(NamedTuple):
    """What a batch of devices is told, and the soft shares that carry the gradient in training."""

    codes: Tensor  # [B, C] uint8, 0..3
    gates: Tensor  # [B, C, 4] float32, shares of the four levels, summing to 1


def plan(scores: Tensor, layer_scores: Tensor | None, layout: Layout, beta: float, temperature: float) -> Plan:
    """Γ then Λ (eq. 12-13) on channel scores [B, C] and layer scores [B, L]; gates are relaxed at `temperature`.

    Without layer scores there is no Λ.
    """
    parts = [tiers(run, beta, temperature) for run in _runs(scores, layout)]
    codes = torch.cat([part.codes.reshape(len(scores), -1) for part in parts], dim=1)
    gates = torch.cat([part.gates.reshape(len(scores), -1, LEVELS) for part in parts], dim=1)
    return Plan(codes, gates) if layer_scores is None else refine(codes, gates, layer_scores, layout, temperature)


def plan_codes(scores: Tensor, layer_scores: Tensor | None, layout: Layout, beta: float) -> Tensor:
    """The codes of `plan` alone, [B, C] uint8: all that a deployed cloud needs, at a third of the time."""
    parts = [tier_codes(run.argsort(dim=1, descending=True, stable=True), beta) for run in _runs(scores, layout)]
    codes = torch.cat([part.reshape(len(scores), -1) for part in parts], dim=1)
    return codes if layer_scores is None else refine_codes(codes, layer_scores, layout)


def tiers(scores: Tensor, beta: float, temperature: float) -> Plan:
    """Γ within one layer: of the n channels in `scores` [B, n] the top round(β·n) get code 3, the next as many 1."""
    channels = scores.shape[1]
    size = round(beta * channels)
    ordered, order = scores.sort(dim=1, descending=True, stable=True)
    codes = tier_codes(order, beta)
    if size == 0:
        return Plan(codes, F.one_hot(codes.long(), LEVELS).to(scores.dtype))
    # A tier's soft threshold lies midway between the scores on its two sides; it moves with them but pulls at neither.
    threshold = ordered.detach()
    upper = (threshold[:, size - 1] + threshold[:, size]) / 2
    above = torch.sigmoid((scores - upper[:, None]) / temperature)
    between = torch.ones_like(above)  # without a third tier, nobody falls below the second
    if 2 * size < channels:
        lower = (threshold[:, 2 * size - 1] + threshold[:, 2 * size]) / 2
        between = torch.sigmoid((scores - lower[:, None]) / temperature)
    return Plan(codes, torch.stack([1 - between, between - above, torch.zeros_like(above), above], dim=-1))


def tier_codes(order: Tensor, beta: float) -> Tensor:
    """The codes of Γ, [B, n] uint8, from the channels in the `order` [B, n] of falling score."""
    size = round(beta * order.shape[1])
    codes = torch.zeros(order.shape, dtype=torch.uint8, device=order.device)
    return codes.scatter_(1, order[:, : 2 * size], 1).scatter_(1, order[:, :size], 3)


def refine(codes: Tensor, gates: Tensor, layer_scores: Tensor, layout: Layout, temperature: float) -> Plan:
    """Λ: the layer with the highest score climbs one step of the ladder, the one with the lowest goes down one.

    With a single layer, highest and lowest are the same and nothing moves.
    """
    refined = refine_codes(codes, layer_scores, layout)
    if len(layout.layers) < 2:
        return Plan(refined, gates)
    owner = _owners(layout, codes.device)
    climbs = (layer_scores / temperature).softmax(1)[:, owner, None]
    falls = (-layer_scores / temperature).softmax(1)[:, owner, None]
    climbed = torch.cat([torch.zeros_like(gates[..., :1]), gates[..., :2], gates[..., 2:].sum(-1, keepdim=True)], -1)
    fallen = torch.cat([gates[..., :2].sum(-1, keepdim=True), gates[..., 2:], torch.zeros_like(gates[..., :1])], -1)
    return Plan(refined, gates + climbs * (climbed - gates) + falls * (fallen - gates))


def refine_codes(codes: Tensor, layer_scores: Tensor, layout: Layout) -> Tensor:
    """The codes [B, C] uint8 after Λ."""
    layers = len(layout.layers)
    step = F.one_hot(layer_scores.argmax(1), layers) - F.one_hot(layer_scores.argmin(1), layers)
    moved = codes.to(torch.int8) + step.to(torch.int8)[:, _owners(layout, codes.device)]
    return moved.clamp(0, LEVELS - 1).to(torch.uint8)


def _runs(scores: Tensor, layout: Layout) -> list[Tensor]:
    """Channel scores [B, C] as one [B · layers, channels] for each run of layers of the same width."""
    parts = scores.split([layers * width for layers, width in layout.runs], dim=1)
    return [part.reshape(-1, width) for part, (_, width) in zip(parts, layout.runs, strict=True)]


def _owners(layout: Layout, device: torch.device) -> Tensor:
    """The layer of each channel, [C]."""
    return torch.repeat_interleave(torch.arange(len(layout.layers)), torch.tensor(layout.widths)).to(device)
