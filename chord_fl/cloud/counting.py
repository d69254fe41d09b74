"""Popularity and co-visitation, counted on the training interactions alone: the baselines that learn no weights.

Pairs are counted sparsely, for some of the given items at a time, so that memory is bounded for any catalogue: nothing
of the size items × items is ever made. The rules were chosen on validation; docs/baselines-counting.md has the table.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from chord_fl.cloud.checkpoint import Trained
from chord_fl.config import Config
from chord_fl.data.interactions import Interactions, held_out, recent, training_part
from chord_fl.metrics import means, rank_of
from chord_fl.models.counts import MOST_POPULAR, CountTable, id_type, reference_spec
from chord_fl.models.spec import ModelSpec

NEAREST = 2520  # weight of a pair of adjacent items; divisible by 1 .. 10

_PAIRS = 2_000_000  # counted at once: about 200 MB
_CHUNK = 64


@dataclass(frozen=True)
class Rules:
    """How co-visitation is counted and used."""

    distance: int  # pairs of a user's items at most so many places apart
    both: bool  # an item also counts those before it as its neighbours
    inverse_gap: bool  # a pair counts for 1 / (places apart), instead of 1
    damping: float  # counts are divided by the neighbour's popularity to this power
    last: int  # recent items of the device that are looked up
    inverse_age: bool  # the latest counts for 1, the one before for 1/2, 1/3 ..., instead of all for 1
    neighbours: int = 64  # kept for each item: at 2 + 2 bytes as much as an embedding of 64 float32


# best of eight on validation (ML-100K, seed 0)
COVISITATION = Rules(distance=5, both=False, inverse_gap=False, damping=0.5, last=10, inverse_age=True)


@dataclass(frozen=True, eq=False)
class Counted:
    """What counting leaves, in the place of a trained model."""

    table: CountTable
    spec: ModelSpec  # of the model that other strategies put on the devices; nothing here is computed from it


def fit(config: Config, interactions: Interactions, items: int, rules: Rules | None) -> Trained:
    """Count the training part of `interactions`, whole sequences; without `rules` popularity alone.

    Takes a second, so there is no checkpoint: the folder is empty and means nothing.
    """
    known = training_part(interactions)
    table = popularity_table(known, items) if rules is None else covisitation_table(known, items, rules)
    counted = Counted(table, reference_spec(config.model, items, config.seed))
    return Trained(counted, Path())


def popularity_table(known: Interactions, items: int) -> CountTable:
    """A table [items + 1] that ranks items by how often they occur in `known`."""
    none = np.zeros((items + 1, 0), dtype=id_type(items))
    return CountTable(_popularity(known, items), none, none.astype(np.uint16), np.zeros(0, dtype=np.uint8))


def covisitation_table(known: Interactions, items: int, rules: Rules, pairs: int = _PAIRS) -> CountTable:
    """The strongest neighbours of each of `items` by co-visitation in `known`; `pairs` bounds what is held at once.

    Weights are relative to the strongest of all, in steps of 1/65535, and at least one step.
    """
    popularity = _popularity(known, items)
    neighbours = np.zeros((items + 1, rules.neighbours), dtype=id_type(items))
    strength = np.zeros((items + 1, rules.neighbours), dtype=np.float64)
    where = np.argsort(known.items, kind="stable")  # positions by the item that is there
    edges = np.concatenate([[0], np.cumsum(np.bincount(known.items, minlength=items + 1))])
    most = max(1, pairs // (rules.distance * (1 + rules.both)))
    first = 1
    while first <= items:
        # as many given items as have `most` occurrences together, but at least one
        last = max(first + 1, int(np.searchsorted(edges, edges[first] + most, side="right")) - 1)
        given, others, counts = _co_visits(known, where[edges[first] : edges[last]], items, rules)
        scores = counts / popularity[others] ** rules.damping
        order = np.lexsort((others, -scores, given))
        given, others, scores = given[order], others[order], scores[order]
        place = np.arange(len(given)) - np.searchsorted(given, given)
        kept = place < rules.neighbours
        neighbours[given[kept], place[kept]] = others[kept]
        strength[given[kept], place[kept]] = scores[kept]
        first = last
    top = float(strength.max(initial=0.0)) or 1.0
    weights = np.where(strength > 0, np.maximum(np.rint(65535 * strength / top), 1), 0).astype(np.uint16)
    return CountTable(popularity, neighbours, weights, _recency(rules))


def validate(table: CountTable, interactions: Interactions) -> dict[str, float]:
    """Ranking metrics of the second last item of each user; seen items stay candidates, the last is never touched."""
    windows = torch.from_numpy(recent(interactions, 2, len(table.recency)).astype(np.int64))
    targets = torch.from_numpy(held_out(interactions, 1).astype(np.int64))
    ranks = []
    for rows, wanted in zip(windows.split(_CHUNK), targets.split(_CHUNK), strict=True):
        scores = table.scores(rows)
        scores[:, 0] = -1
        ranks.append(rank_of(scores, wanted))
    return means(torch.cat(ranks).numpy())


def _popularity(known: Interactions, items: int) -> NDArray[np.uint32]:
    return np.minimum(np.bincount(known.items, minlength=items + 1), MOST_POPULAR).astype(np.uint32)


def _recency(rules: Rules) -> NDArray[np.uint8]:
    age = np.arange(rules.last, 0, -1)
    return (
        np.maximum(np.rint(255 / age), 1).astype(np.uint8) if rules.inverse_age else np.ones(len(age), dtype=np.uint8)
    )


def _co_visits(
    known: Interactions, positions: NDArray[np.int64], items: int, rules: Rules
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Pairs (given item, other item) with the given item at `positions`: each pair once, sorted, and its weight."""
    user = np.searchsorted(known.offsets, positions, side="right") - 1
    begin, end = known.offsets[user], known.offsets[user + 1]
    codes, weights = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    for gap in range(1, rules.distance + 1):
        for there in (positions + gap, positions - gap) if rules.both else (positions + gap,):
            same = (there >= begin) & (there < end)
            codes.append(known.items[positions[same]].astype(np.int64) * (items + 1) + known.items[there[same]])
            weights.append(np.full(len(codes[-1]), NEAREST // gap if rules.inverse_gap else 1, dtype=np.int64))
    pairs, which = np.unique(np.concatenate(codes), return_inverse=True)
    # integers, exact in float64 whatever their order
    counts = np.bincount(which.reshape(-1), np.concatenate(weights), len(pairs)).astype(np.float64)
    return pairs // (items + 1), pairs % (items + 1), counts
