"""The leave-one-out split against a loop over users."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chord_fl.data.interactions import Interactions, held_out, recent


def build(sequences: list[list[int]]) -> Interactions:
    flat = [item for sequence in sequences for item in sequence]
    offsets = np.cumsum([0, *map(len, sequences)])
    return Interactions(np.array(flat, dtype=np.int32), offsets.astype(np.int64))


def populations(shortest: int) -> st.SearchStrategy[list[list[int]]]:
    return st.lists(st.lists(st.integers(1, 50), min_size=shortest, max_size=9), max_size=6)


@given(populations(shortest=0), st.integers(0, 4), st.integers(0, 12))
def test_recent_matches_a_loop(sequences: list[list[int]], drop: int, length: int) -> None:
    found = recent(build(sequences), drop, length)
    assert found.dtype == np.int32
    assert found.shape == (len(sequences), length)
    for row, sequence in zip(found, sequences, strict=True):
        kept = sequence[: max(len(sequence) - drop, 0)]
        kept = kept[max(len(kept) - length, 0) :]
        assert row.tolist() == [0] * (length - len(kept)) + kept


@given(populations(shortest=3), st.integers(0, 2))
def test_held_out_matches_a_loop(sequences: list[list[int]], drop: int) -> None:
    found = held_out(build(sequences), drop)
    assert found.dtype == np.int32
    assert found.tolist() == [sequence[-(drop + 1)] for sequence in sequences]


def test_a_user_without_the_held_out_item_is_refused() -> None:
    interactions = build([[1, 2, 3], [4]])
    assert held_out(interactions, 0).tolist() == [3, 4]
    with pytest.raises(ValueError, match="position -2"):
        held_out(interactions, 1)
    with pytest.raises(ValueError):
        held_out(interactions, -1)
    with pytest.raises(ValueError):
        recent(interactions, -1, 3)


def test_the_history_never_shows_what_is_held_out() -> None:
    interactions = build([[1, 2, 3, 4], [5, 6, 7]])
    assert recent(interactions, 1, 3).tolist() == [[1, 2, 3], [0, 5, 6]]
    assert recent(interactions, 2, 3).tolist() == [[0, 1, 2], [0, 0, 5]]


def test_rows_are_the_users_asked_for() -> None:
    interactions = build([[1, 2], [3], [4, 5, 6]])
    rows = interactions.rows(1, 2)
    assert rows.users == 2
    assert rows.items.tolist() == [3, 4, 5, 6]
    assert rows.lengths.tolist() == [1, 3]
    assert interactions.rows(3, 0).users == 0
