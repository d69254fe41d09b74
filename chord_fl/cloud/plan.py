"""From importance to a plan: Γ ranks the channels of each layer into tiers, Λ moves whole layers up or down a step.

Codes are 0..3, positions on the ladder of bit-widths. Γ hands out 3 (8 bits), 1 (4 bits) and 0 (2 bits); code 2
(6 bits) comes from Λ alone (paper, §3.4).
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from chord_fl.models.frozen import Layout

LEVELS = 4


class Plan(NamedTuple):
    """What a batch of devices is told, and the soft shares that carry the gradient in training."""

    codes: Tensor  # [B, C] uint8, 0..3
    gates: Tensor  # [B, C, 4] float32, shares of the four levels, summing to 1


def plan(scores: Tensor, layer_scores: Tensor, layout: Layout, beta: float, temperature: float) -> Plan:
    """Γ then Λ (eq. 12-13) on channel scores [B, C] and layer scores [B, L]; gates are relaxed at `temperature`."""
    users, parts = len(scores), []
    for run, (layers, width) in zip(scores.split([n * w for n, w in layout.runs], 1), layout.runs, strict=True):
        parts.append(tiers(run.reshape(users * layers, width), beta, temperature))
    codes = torch.cat([part.codes.reshape(users, -1) for part in parts], dim=1)
    gates = torch.cat([part.gates.reshape(users, -1, LEVELS) for part in parts], dim=1)
    if len(layout.layers) < 2:
        return Plan(codes, gates)
    return refine(codes, gates, layer_scores, layout, temperature)


def tiers(scores: Tensor, beta: float, temperature: float) -> Plan:
    """Γ within one layer: of the n channels in `scores` [B, n] the top round(β·n) get code 3, the next as many 1."""
    channels = scores.shape[1]
    size = round(beta * channels)
    if size == 0:
        codes = torch.zeros(scores.shape, dtype=torch.uint8, device=scores.device)
        return Plan(codes, F.one_hot(codes.long(), LEVELS).to(scores.dtype))
    ordered, order = scores.sort(dim=1, descending=True, stable=True)
    ranks = order.argsort(dim=1)
    codes = torch.where(ranks < size, 3, torch.where(ranks < 2 * size, 1, 0)).to(torch.uint8)
    # A tier's soft threshold lies midway between the scores on its two sides; it moves with them but pulls at neither.
    threshold = ordered.detach()
    upper = (threshold[:, size - 1] + threshold[:, size]) / 2
    above = torch.sigmoid((scores - upper[:, None]) / temperature)
    between = torch.ones_like(above)  # without a third tier, nobody falls below the second
    if 2 * size < channels:
        lower = (threshold[:, 2 * size - 1] + threshold[:, 2 * size]) / 2
        between = torch.sigmoid((scores - lower[:, None]) / temperature)
    return Plan(codes, torch.stack([1 - between, between - above, torch.zeros_like(above), above], dim=-1))


def refine(codes: Tensor, gates: Tensor, layer_scores: Tensor, layout: Layout, temperature: float) -> Plan:
    """Λ: the layer with the highest score climbs one step of the ladder, the one with the lowest goes down one."""
    layers = len(layout.layers)
    owner = torch.repeat_interleave(torch.arange(layers), torch.tensor(layout.widths)).to(codes.device)
    highest, lowest = layer_scores.argmax(1), layer_scores.argmin(1)
    step = F.one_hot(highest, layers) - F.one_hot(lowest, layers)
    refined = (codes.long() + step[:, owner]).clamp(0, LEVELS - 1).to(torch.uint8)
    climbs = (layer_scores / temperature).softmax(1)[:, owner, None]
    falls = (-layer_scores / temperature).softmax(1)[:, owner, None]
    climbed = torch.cat([torch.zeros_like(gates[..., :1]), gates[..., :2], gates[..., 2:].sum(-1, keepdim=True)], -1)
    fallen = torch.cat([gates[..., :2].sum(-1, keepdim=True), gates[..., 2:], torch.zeros_like(gates[..., :1])], -1)
    return Plan(refined, gates + climbs * (climbed - gates) + falls * (fallen - gates))
