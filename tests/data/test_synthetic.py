"""The made-up population: the same users however they are asked for, and the properties that it is made for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chord_fl.data.interactions import Interactions, held_out
from chord_fl.data.synthetic import (
    CORE,
    LONGEST,
    MEDIAN,
    SHORTEST,
    STYLES,
    Catalogue,
    exact_lengths,
    generate,
    make_catalogue,
)

CATALOGUE = make_catalogue(2000, seed=0)


@pytest.fixture(scope="module")
def population() -> Interactions:
    return generate(CATALOGUE, 0, 5000)


@given(st.integers(0, 4999), st.integers(0, 50))
def test_users_are_the_same_in_any_range(population: Interactions, first: int, count: int) -> None:
    count = min(count, 5000 - first)
    found, expected = generate(CATALOGUE, first, count), population.rows(first, count)
    assert np.array_equal(found.items, expected.items)
    assert np.array_equal(found.offsets, expected.offsets)
    assert (found.items.dtype, found.offsets.dtype) == (np.int32, np.int64)


def test_users_across_blocks_are_the_same() -> None:
    found = generate(CATALOGUE, 1000, 3000)
    assert np.array_equal(found.rows(2500, 100).items, generate(CATALOGUE, 3500, 100).items)


def test_the_population_is_what_it_always_was() -> None:
    """Checkpoints and printed figures hold for these users only."""
    found = generate(CATALOGUE, 1000, 5000)
    assert len(found.items) == 294049
    assert found.lengths[:6].tolist() == [75, 92, 30, 40, 47, 60]
    assert found.items[:12].tolist() == [1002, 747, 1297, 1918, 1439, 812, 1825, 1020, 176, 752, 437, 173]
    assert found.items[-6:].tolist() == [1109, 1285, 1868, 1588, 1505, 472]


@given(st.integers(1, 200), st.integers(0, 10), st.data())
def test_exact_lengths(users: int, seed: int, data: st.DataObject) -> None:
    total = data.draw(st.integers(CORE * users, LONGEST * users))
    lengths = exact_lengths(seed, users, total)
    assert (len(lengths), lengths.sum(), lengths.dtype) == (users, total, np.int64)
    assert CORE <= lengths.min() <= lengths.max() <= LONGEST


def test_lengths_that_cannot_be() -> None:
    for total in (99, 2001):
        with pytest.raises(ValueError, match=f"10 users cannot have {total} interactions of 10 to 200 each"):
            exact_lengths(0, 10, total)


def test_seeds_differ(population: Interactions) -> None:
    other = make_catalogue(2000, seed=1)
    assert not np.array_equal(other.genre, CATALOGUE.genre)
    assert not np.array_equal(generate(other, 0, 100).lengths, population.rows(0, 100).lengths)


def test_lengths(population: Interactions) -> None:
    lengths = population.lengths
    assert (lengths.min(), lengths.max()) == (SHORTEST, LONGEST)
    assert abs(np.median(lengths) - MEDIAN) < 3
    assert np.mean(lengths == SHORTEST) < 0.1
    assert np.mean(lengths == LONGEST) < 0.05


@pytest.mark.parametrize("items", [20, 47, 500, 2000, 100_000])
@pytest.mark.parametrize("seed", [0, 1])
def test_catalogues_of_any_size(items: int, seed: int) -> None:
    catalogue = make_catalogue(items, seed)
    assert sorted(catalogue.order.tolist()) == list(range(1, items + 1))
    assert catalogue.cumulated[-1] == 1.0
    assert np.all(np.diff(catalogue.edges) > 0)
    interactions = generate(catalogue, 0, 200)
    assert interactions.items.min() >= 1
    assert interactions.items.max() <= items
    assert interactions.lengths.min() >= SHORTEST
    assert interactions.lengths.max() <= max(SHORTEST, items // 4)


def test_an_item_is_drawn_from_the_cell_asked_for() -> None:
    cells = np.arange(len(CATALOGUE.edges) - 1)
    for u in (2.0**-53, 0.3, 1 - 1e-9):
        items = CATALOGUE.draw(cells, 1, np.full(len(cells), u))
        assert np.array_equal(CATALOGUE.genre[items] * STYLES + CATALOGUE.style[items], cells)
    at_the_end = CATALOGUE.draw(cells[-1:], 1, np.array([1.0]))
    assert 1 <= at_the_end[0] <= 2000


def test_popularity_has_a_tail(population: Interactions) -> None:
    counts = np.sort(np.bincount(population.items, minlength=2001)[1:])[::-1]
    assert counts[:200].sum() > 0.3 * counts.sum()
    assert np.mean(counts > 0) > 0.95


def test_items_are_consumed_once_as_far_as_the_catalogue_allows(population: Interactions) -> None:
    user = np.repeat(np.arange(5000), population.lengths)
    assert len(np.unique(user * 2001 + population.items)) > 0.98 * len(user)


def test_the_genre_before_suggests_the_genre(population: Interactions) -> None:
    genre = CATALOGUE.genre[population.items]
    inside = np.ones(len(genre), dtype=bool)
    inside[population.offsets[:-1]] = False
    after = np.mean((genre == np.roll(genre, 1))[inside])
    by_chance = np.sum((np.bincount(genre) / len(genre)) ** 2)
    assert after > 3 * by_chance


def test_interests_drift(population: Interactions) -> None:
    """The genres of a user's first items overlap less with the last ones than with those that follow them."""
    long = np.flatnonzero(population.lengths >= 40)
    shares = np.stack([genre_shares(CATALOGUE, population, long, start, 10) for start in (0, 10, -10)])
    assert np.sum(shares[0] * shares[1]) > 1.3 * np.sum(shares[0] * shares[2])


def genre_shares(
    catalogue: Catalogue, interactions: Interactions, users: np.ndarray, start: int, count: int
) -> np.ndarray:
    ends = interactions.offsets[users] if start >= 0 else interactions.offsets[users + 1]
    genre = catalogue.genre[interactions.items[ends[:, None] + start + np.arange(count)]]
    return np.stack([np.bincount(row, minlength=catalogue.genre.max() + 1) for row in genre]) / count


def test_the_history_tells_more_about_taste_than_a_short_window(population: Interactions) -> None:
    """The style that a user had most in the held-out item's genre is the held-out item's style far above chance."""
    whole, window = (style_hits(population, length) for length in (LONGEST, 10))
    assert whole > 2 / STYLES
    assert whole > window + 0.05


def style_hits(interactions: Interactions, length: int) -> float:
    """Share of users whose last `length` items before the held-out one give away its style; no evidence, a guess."""
    target = held_out(interactions, 0)
    user = np.repeat(np.arange(interactions.users), interactions.lengths)
    from_end = interactions.offsets[user + 1] - np.arange(len(user))  # 1 for the held-out item
    genre, style = CATALOGUE.genre[interactions.items], CATALOGUE.style[interactions.items]
    evidence = (from_end > 1) & (from_end <= length + 1) & (genre == CATALOGUE.genre[target][user])
    counts = np.zeros((interactions.users, STYLES))
    np.add.at(counts, (user[evidence], style[evidence]), 1)
    hits = counts.argmax(axis=1) == CATALOGUE.style[target]
    return float(np.where(counts.sum(axis=1) > 0, hits, 1 / STYLES).mean())
