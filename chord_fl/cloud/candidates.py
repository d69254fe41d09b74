"""Candidates of a session: the items, fewer than 100, whose embeddings the cloud sends for a device to rank."""

import numpy as np
from numpy.typing import NDArray

from chord_fl.randomness import uniform


def sample(seed: int, round: int, devices: NDArray[np.int64], items: int, count: int) -> NDArray[np.int32]:
    """`count` different items of 1 .. `items` for each of `devices` [n], sorted; [n, count] int32.

    One item from each of `count` equal slices of the catalogue, so that none repeats. Raises ValueError if there are
    more candidates than items.
    """
    if count > items:
        raise ValueError(f"{count} candidates from a catalogue of {items}")
    first = int(devices.min(initial=0))
    draws = uniform(seed, f"candidates {round}", first, int(devices.max(initial=0)) - first + 1, count)[devices - first]
    edges = np.linspace(0, items, count + 1)
    low, high = np.ceil(edges[:-1]), np.ceil(edges[1:])
    chosen: NDArray[np.int32] = (1 + low + np.floor(draws * (high - low))).astype(np.int32)
    return chosen
