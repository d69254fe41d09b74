"""The k-core filter against its definition, and the order within each user."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from chord_fl.data.events import Events, k_core, sequences

logs = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=60)


def columns(log: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    pairs = np.array(log, dtype=np.int64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def naive_core(log: list[tuple[int, int]], per_user: int, per_item: int) -> list[bool]:
    """Remove one event of one user or item that has too few, as long as there is one."""
    alive = dict(enumerate(log))
    while True:
        users, items = Counter(user for user, _ in alive.values()), Counter(item for _, item in alive.values())
        short = [i for i, (user, item) in alive.items() if users[user] < per_user or items[item] < per_item]
        if not short:
            return [i in alive for i in range(len(log))]
        del alive[short[0]]


@given(logs, st.integers(1, 4), st.integers(1, 4))
def test_core_is_the_largest_that_satisfies_both_bounds(
    log: list[tuple[int, int]], per_user: int, per_item: int
) -> None:
    users, items = columns(log)
    mask = k_core(users, items, per_user, per_item)
    assert mask.tolist() == naive_core(log, per_user, per_item)
    assert all(np.unique(users[mask], return_counts=True)[1] >= per_user)
    assert all(np.unique(items[mask], return_counts=True)[1] >= per_item)
    assert k_core(users[mask], items[mask], per_user, per_item).all()


def test_repeated_pairs_stay() -> None:
    interactions, items = sequences(Events(*columns([(0, 0)] * 4), times=np.arange(4)), core=4)
    assert items == 1
    assert interactions.items.tolist() == [1, 1, 1, 1]


def test_users_that_cannot_be_split_are_left_out_whatever_the_core() -> None:
    log = [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)]
    interactions, items = sequences(Events(*columns(log), times=np.arange(5)), core=1)
    assert interactions.users == 1
    assert items == 3


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), min_size=1, max_size=40))
def test_ties_keep_file_order(log: list[tuple[int, int]]) -> None:
    """Items are distinct here, so that an item names its event."""
    users = np.array([user for user, _ in log])
    times = np.array([time for _, time in log])
    interactions, _ = sequences(Events(users, np.arange(len(log)), times), core=1)
    kept = [i for i in range(len(log)) if np.sum(users == users[i]) >= 3]
    expected = [sorted((i for i in kept if users[i] == user), key=lambda i: times[i]) for user in range(3)]
    found = [kept[item - 1] for item in interactions.items]
    assert found == [i for sequence in expected for i in sequence]


def test_numbers_follow_first_appearance() -> None:
    users = np.array([0, 1, 0, 1, 0, 1])
    items = np.array([0, 1, 1, 2, 2, 0])
    interactions, n_items = sequences(Events(users, items, times=np.array([9, 9, 5, 5, 1, 1.5])), core=1)
    assert n_items == 3
    assert interactions.items.tolist() == [3, 2, 1, 1, 3, 2]
    assert interactions.items.dtype == np.int32
    assert interactions.offsets.dtype == np.int64
