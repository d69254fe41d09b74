from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from chord_fl.cloud.counting import (
    COVISITATION,
    NEAREST,
    Counted,
    Rules,
    covisitation_table,
    fit,
    popularity_table,
    validate,
)
from chord_fl.config import Config
from chord_fl.data.interactions import Interactions
from chord_fl.metrics import ndcg
from chord_fl.models.counts import CountTable

PLAIN = Rules(distance=3, both=False, inverse_gap=False, damping=0.0, last=4, inverse_age=False, neighbours=30)


def interactions(*sequences: list[int]) -> Interactions:
    offsets = np.concatenate([[0], np.cumsum([len(each) for each in sequences])]).astype(np.int64)
    return Interactions(np.array([item for each in sequences for item in each], dtype=np.int32), offsets)


def population(users: int, items: int, seed: int = 0) -> Interactions:
    draw = np.random.default_rng(seed)
    return interactions(*(draw.integers(1, items + 1, draw.integers(3, 20)).tolist() for _ in range(users)))


def naive(known: Interactions, rules: Rules) -> dict[tuple[int, int], float]:
    """Every pair, one by one."""
    found: Counter[tuple[int, int]] = Counter()
    for user in range(known.users):
        row = known.items[known.offsets[user] : known.offsets[user + 1]].tolist()
        for at, one in enumerate(row):
            for gap, other in enumerate(row[at + 1 : at + 1 + rules.distance], start=1):
                found[one, other] += NEAREST // gap if rules.inverse_gap else 1
                if rules.both:
                    found[other, one] += NEAREST // gap if rules.inverse_gap else 1
    popularity = Counter(known.items.tolist())
    return {(one, other): count / popularity[other] ** rules.damping for (one, other), count in found.items()}


def kept(table: CountTable) -> dict[tuple[int, int], int]:
    rows, places = np.nonzero(table.neighbours)
    pairs = zip(rows.tolist(), table.neighbours[rows, places].tolist(), strict=True)
    return dict(zip(pairs, table.weights[rows, places].tolist(), strict=True))


@pytest.mark.parametrize(
    "rules",
    [
        PLAIN,
        replace(PLAIN, both=True),
        replace(PLAIN, inverse_gap=True),
        replace(PLAIN, damping=0.5),
        replace(PLAIN, both=True, inverse_gap=True, damping=1.0, distance=50),
    ],
)
def test_pairs_are_counted_as_one_by_one(rules: Rules) -> None:
    known = population(40, 25)
    expected = naive(known, rules)
    top = max(expected.values())
    scaled = {pair: max(1, round(65535 * score / top)) for pair, score in expected.items()}
    found = kept(covisitation_table(known, 25, rules))
    assert found.keys() == scaled.keys()
    assert all(abs(found[pair] - scaled[pair]) <= 1 for pair in found)


def test_the_strongest_neighbours_are_kept_and_stand_first() -> None:
    known = population(60, 25)
    whole, few = (covisitation_table(known, 25, replace(PLAIN, neighbours=k)) for k in (30, 3))
    np.testing.assert_array_equal(few.neighbours, whole.neighbours[:, :3])
    np.testing.assert_array_equal(few.weights, whole.weights[:, :3])
    weights = whole.weights.astype(np.int64)
    assert (np.diff(weights, axis=1) <= 0).all()
    ties = (np.diff(weights, axis=1) == 0) & (weights[:, 1:] > 0)
    assert ties.any() and (np.diff(whole.neighbours.astype(np.int64), axis=1)[ties] > 0).all()


@pytest.mark.parametrize("pairs", [1, 100, 1000])
def test_how_many_pairs_are_held_at_once_does_not_show(pairs: int) -> None:
    known = population(60, 25)
    whole, parts = covisitation_table(known, 25, COVISITATION), covisitation_table(known, 25, COVISITATION, pairs)
    for name in ("popularity", "neighbours", "weights", "recency"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(parts, name))


def test_items_of_different_users_are_no_pair() -> None:
    assert kept(covisitation_table(interactions([1, 2], [3], [], [4]), 4, PLAIN)) == {(1, 2): 65535}


@pytest.mark.parametrize("known", [interactions([1], [2]), interactions()])
def test_nothing_to_count_is_an_empty_table(known: Interactions) -> None:
    table = covisitation_table(known, 5, PLAIN)
    assert not kept(table) and not table.weights.any() and table.popularity.sum() == len(known.items)


def test_a_large_catalogue_takes_no_dense_table() -> None:
    table = covisitation_table(population(50, 100_000), 100_000, COVISITATION)
    assert table.neighbours.dtype == np.uint32 and table.nbytes < 40e6
    assert table.neighbours.max() > 2**16


def test_recent_items_weigh_more() -> None:
    table = covisitation_table(interactions([1, 2]), 2, replace(PLAIN, inverse_age=True))
    assert table.recency.tolist() == [64, 85, 128, 255]
    assert covisitation_table(interactions([1, 2]), 2, PLAIN).recency.tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("rules", [None, COVISITATION])
def test_the_last_two_items_are_not_counted(rules: Rules | None) -> None:
    whole = population(30, 25)
    changed = Interactions(whole.items.copy(), whole.offsets)
    for back in (1, 2):
        changed.items[whole.offsets[1:] - back] = 25 - back
    one, other = (fit(Config(), each, 25, rules).model for each in (whole, changed))
    assert isinstance(one, Counted) and one.spec.items == 25
    for name in ("popularity", "neighbours", "weights"):
        np.testing.assert_array_equal(getattr(one.table, name), getattr(other.table, name))
    assert one.table.popularity.sum() == len(whole.items) - 2 * whole.users


def test_validation_finds_the_second_last_item_and_never_reads_the_last() -> None:
    known = interactions([1, 2, 3], [1, 2, 3], [1, 2], [4])
    found = validate(covisitation_table(known, 5, PLAIN), interactions([1, 2, 5], [4, 1, 4], [3, 5, 2]))
    # after 1 comes 2 most often; after 4 and 3 nothing does: 2, 1, 3, 4, 5 by popularity, the lower first among equals
    expected = [ndcg(np.array([rank]), 10)[0] for rank in (1, 1, 5)]
    assert found["ndcg@10"] == pytest.approx(np.mean(expected))


def test_popularity_counts() -> None:
    assert popularity_table(interactions([1, 2, 2], [2, 4]), 5).popularity.tolist() == [0, 1, 3, 0, 1, 0]
