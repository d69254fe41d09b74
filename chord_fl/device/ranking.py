"""Profiles and ranks: what a batch of devices computes from its interactions and the model it holds."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from chord_fl.blocks import in_blocks
from chord_fl.data.interactions import Interactions, held_out, recent
from chord_fl.device.model import DeviceModel
from chord_fl.metrics import rank_of
from chord_fl.quantization.bank import apply_biases, apply_codes


class Local(NamedTuple):
    """What B devices know of their users, and the item that their models must find."""

    history: Tensor  # [B, h] int64, left-padded with 0
    windows: Tensor  # [B, w] int64, left-padded with 0
    targets: Tensor  # [B] int64
    seen: Tensor | None  # [B, s] int64: items that must not compete, 0 for none; None where seen items are kept

    def of(self, rows: NDArray[np.int64]) -> "Local":
        """Some of the devices."""
        history, windows, targets = (part[rows] for part in (self.history, self.windows, self.targets))
        return Local(history, windows, targets, None if self.seen is None else self.seen[rows])


class Candidates(NamedTuple):
    """The items that a cloud sent for this session, instead of a catalogue."""

    items: Tensor  # [B, p] int64
    embeddings: Tensor  # [B, p, d] float32


def local(model: DeviceModel, interactions: Interactions, exclude_seen: bool) -> Local:
    """The leave-one-out view: the last item is the target, everything before it is known to the device."""
    longest = int(interactions.lengths.max(initial=1)) - 1
    known = recent(interactions, 1, max(longest, model.spec.history, model.spec.window)).astype(np.int64)
    return Local(
        torch.from_numpy(known[:, -model.spec.history :]),
        torch.from_numpy(known[:, -model.spec.window :]),
        torch.from_numpy(held_out(interactions, 0).astype(np.int64)),
        torch.from_numpy(known) if exclude_seen else None,
    )


@torch.inference_mode()
def profiles(model: DeviceModel, history: Tensor) -> NDArray[np.float32]:
    """Profiles [B, l] of `history` [B, h]. Raises ValueError if the shipment held no profile encoder."""
    encoder = model.encoder
    if encoder is None:
        raise ValueError("this model came without a profile encoder")
    return in_blocks(lambda rows: encoder(rows, model.backbone.items), history).numpy()


@torch.inference_mode()
def ranks_of_plans(
    model: DeviceModel, devices: Local, codes: NDArray[np.uint8], candidates: Candidates | None = None
) -> NDArray[np.int64]:
    """Rank (1 is best) of each device's target under plan codes [B, C] applied to the frozen weights."""
    widths = model.layout.widths

    def rank(rows: Tensor, windows: Tensor, targets: Tensor, *rest: Tensor) -> Tensor:
        chosen = rows.split(widths, dim=1)
        weights = [apply_codes(copies, part) for copies, part in zip(model.bank, chosen, strict=True)]
        biases = apply_biases(list(model.backbone.biases), chosen) if model.spec.switchable_biases else None
        return ranked(model, model.backbone(windows, weights, biases)[:, -1], targets, devices, rest)

    return in_blocks(
        rank, torch.from_numpy(codes), devices.windows, devices.targets, *extras(devices, candidates)
    ).numpy()


@torch.inference_mode()
def ranks_of_weights(
    model: DeviceModel,
    devices: Local,
    weights: list[Tensor],
    candidates: Candidates | None = None,
    biases: list[Tensor] | None = None,
) -> NDArray[np.int64]:
    """Rank (1 is best) of each device's target under layers [out, in] that all devices share.

    `biases` [out] stand in for those of the shipment where given.
    """

    def rank(windows: Tensor, targets: Tensor, *rest: Tensor) -> Tensor:
        return ranked(model, model.backbone(windows, weights, biases)[:, -1], targets, devices, rest)

    return in_blocks(rank, devices.windows, devices.targets, *extras(devices, candidates)).numpy()


def extras(devices: Local, candidates: Candidates | None) -> list[Tensor]:
    """What `ranked` needs besides states and targets, in the order in which it expects it."""
    seen = [] if devices.seen is None else [devices.seen]
    return seen + ([] if candidates is None else list(candidates))


def ranked(model: DeviceModel, states: Tensor, targets: Tensor, devices: Local, rest: tuple[Tensor, ...]) -> Tensor:
    """Ranks [B] of `targets` [B] by `states` [B, d]: in the full catalogue, or among candidates if `rest` has them."""
    seen = rest[0] if devices.seen is not None else None
    if len(rest) < 2:
        scores = model.backbone.score(states)
        scores[:, 0] = -torch.inf
        if seen is not None:
            own = scores.gather(1, targets[:, None])
            scores.scatter_(1, seen, -torch.inf)
            scores.scatter_(1, targets[:, None], own)
        return rank_of(scores, targets)
    items, embeddings = rest[-2:]
    scores = torch.bmm(embeddings, states[:, :, None])[:, :, 0]
    if seen is not None:
        known = (items[:, :, None] == seen[:, None, :]).any(-1) & (items != targets[:, None])
        scores = scores.masked_fill(known, -torch.inf)
    return rank_of(scores, (items == targets[:, None]).to(torch.uint8).argmax(1))
