"""From a log of events to sequences: the k-core filter, and the order of time within each user."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chord_fl.data.interactions import SHORTEST, Interactions


@dataclass(frozen=True, eq=False)
class Events:
    """A log in file order. Users and items are codes 0, 1, ... in the order in which the file first names them."""

    users: NDArray[np.int64]  # [n]
    items: NDArray[np.int64]  # [n]
    times: NDArray[np.int64] | NDArray[np.float64]  # [n], in any unit: only their order counts


def k_core(users: NDArray[np.int64], items: NDArray[np.int64], per_user: int, per_item: int) -> NDArray[np.bool_]:
    """Which events belong to the largest subset that leaves every user and item with enough of them, [n] bool.

    Users need `per_user` events, items `per_item`; dropping one kind makes the other fall below, so both are dropped
    in turn until nothing changes. A pair that occurs twice counts twice.
    """
    kept = np.arange(len(users))
    while True:
        user, item = users[kept], items[kept]
        enough = (np.bincount(user)[user] >= per_user) & (np.bincount(item)[item] >= per_item)
        if enough.all():
            mask = np.zeros(len(users), dtype=np.bool_)
            mask[kept] = True
            return mask
        kept = kept[enough]


def sequences(events: Events, core: int) -> tuple[Interactions, int]:
    """The events that survive the k-core filter as one sequence per user, and the number of items left.

    Every item has at least `core` events, every user at least `core` and never fewer than three, without which there
    is nothing to hold out. Users are numbered from 0 and items from 1, both in the order in which the file first names
    them. Events of one user with equal times keep their file order.
    """
    mask = k_core(events.users, events.items, per_user=max(core, SHORTEST), per_item=core)
    _, users = np.unique(events.users[mask], return_inverse=True)
    names, items = np.unique(events.items[mask], return_inverse=True)
    in_order = np.lexsort((events.times[mask], users))  # a stable sort: ties stay as the file has them
    offsets = np.concatenate(([0], np.cumsum(np.bincount(users)))).astype(np.int64)
    return Interactions((items[in_order] + 1).astype(np.int32), offsets), len(names)
