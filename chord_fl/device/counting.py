"""Ranks by counts: what a batch of devices finds with the table that the cloud counted."""

from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from chord_fl.blocks import in_blocks
from chord_fl.data.interactions import Interactions, held_out, recent
from chord_fl.device.ranking import Candidates, Local, extras
from chord_fl.metrics import rank_of
from chord_fl.models.counts import CountTable

_OUT = -1  # scores are not negative: an item with this one does not compete


def local_to(table: CountTable, interactions: Interactions, exclude_seen: bool) -> Local:
    """The leave-one-out view with windows as long as `table` looks back; there is no profile, hence no history."""
    last = len(table.recency)
    known = recent(interactions, 1, max(int(interactions.lengths.max(initial=1)) - 1, last)).astype(np.int64)
    return Local(
        torch.zeros(len(known), 0, dtype=torch.int64),
        torch.from_numpy(known[:, known.shape[1] - last :]),
        torch.from_numpy(held_out(interactions, 0).astype(np.int64)),
        torch.from_numpy(known) if exclude_seen else None,
    )


def ranks_of_counts(table: CountTable, devices: Local, candidates: Candidates | None = None) -> NDArray[np.int64]:
    """Rank (1 is best) of each device's target, [B] int64: in the full catalogue, or among `candidates`.

    Candidates need no embeddings here. Scores are integers: company changes nothing, and blocks only bound the memory.
    """
    given = extras(devices, candidates)
    return in_blocks(
        partial(_ranked, table, devices.seen is not None), devices.windows, devices.targets, *given
    ).numpy()


def _ranked(table: CountTable, excluded: bool, windows: Tensor, targets: Tensor, *rest: Tensor) -> Tensor:
    scores = table.scores(windows)
    scores[:, 0] = _OUT
    wanted = targets[:, None]
    if excluded:
        own = scores.gather(1, wanted)
        scores.scatter_(1, rest[0], _OUT).scatter_(1, wanted, own)
    if len(rest) < 2:
        return rank_of(scores, targets)
    items = rest[-2]
    return rank_of(scores.gather(1, items), (items == wanted).to(torch.uint8).argmax(1))
