"""Data sets by configuration: how many users, which users, and what is refused."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from chord_fl.config import DataConfig
from chord_fl.data.dataset import DEFAULT_DEVICES, load, statistics
from chord_fl.data.interactions import held_out
from chord_fl.errors import DataError


def write_log(path: Path, users: int = 6, items: int = 5) -> Path:
    rows = [f"user {user},item {item},{(item * 7 + user) % 5}" for user in range(users) for item in range(items)]
    path.write_text("user,item,timestamp\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return path


def config(path: Path, **changes: object) -> DataConfig:
    return DataConfig(**{"name": "csv", "path": str(path), "core": 5, **changes})


def test_a_file_from_end_to_end(tmp_path: Path) -> None:
    dataset = load(config(write_log(tmp_path / "log.csv")))
    assert (dataset.name, dataset.users, dataset.items) == ("csv", 6, 5)
    counts = statistics(dataset)
    assert (counts.users, counts.items, counts.interactions, counts.density) == (6, 5, 30, 1.0)
    everyone = dataset.slice(0, 6)
    order = [sorted(range(5), key=lambda item, user=user: (item * 7 + user) % 5) for user in range(6)]
    assert everyone.items.reshape(6, 5).tolist() == [[item + 1 for item in row] for row in order]
    some = dataset.slice(2, 3)
    assert some.items.tolist() == everyone.items[10:25].tolist()
    assert some.offsets.tolist() == [0, 5, 10, 15]
    assert held_out(some, 0).tolist() == [row[-1] + 1 for row in order[2:5]]


def test_fewer_devices_are_the_first_users_and_the_catalogue_stays(tmp_path: Path) -> None:
    path = write_log(tmp_path / "log.csv")
    dataset = load(config(path, devices=2))
    assert (dataset.users, dataset.items) == (2, 5)
    assert np.array_equal(dataset.slice(0, 2).items, load(config(path)).slice(0, 2).items)
    assert statistics(dataset).interactions == 10


def test_more_devices_than_users_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data.devices is 7, but .*log.csv has only 6 users"):
        load(config(write_log(tmp_path / "log.csv"), devices=7))


def test_a_filter_that_leaves_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nothing of the 30 interactions in .*log.csv is left after the 7-core filter"):
        load(config(write_log(tmp_path / "log.csv"), core=7))


def test_a_range_beyond_the_users_is_refused(tmp_path: Path) -> None:
    synthetic = load(DataConfig(name="synthetic", devices=5))
    for dataset in (load(config(write_log(tmp_path / "log.csv"), devices=5)), synthetic):
        assert dataset.slice(5, 0).users == 0
        for first, count in ((4, 2), (-1, 2), (0, -1)):
            with pytest.raises(ValueError, match=r"of 0 .. 4"):
                dataset.slice(first, count)


def test_only_a_synthetic_population_depends_on_the_seed(tmp_path: Path) -> None:
    path = write_log(tmp_path / "log.csv")
    first, second = load(config(path), seed=1).slice(0, 6), load(config(path), seed=2).slice(0, 6)
    assert np.array_equal(first.items, second.items)


def test_a_synthetic_population() -> None:
    assert load(DataConfig(name="synthetic")).users == DEFAULT_DEVICES
    dataset = load(DataConfig(name="synthetic", devices=5_001, items=50))
    counts = statistics(dataset)
    assert (counts.users, counts.items) == (5_001, 50)
    assert counts.interactions == len(dataset.slice(0, 5_001).items)


def test_the_size_of_a_synthetic_population_does_not_change_its_users() -> None:
    small = load(DataConfig(name="synthetic", devices=10), seed=3)
    giant = load(DataConfig(name="synthetic", devices=10_000_000), seed=3)
    assert np.array_equal(small.slice(0, 10).items, giant.slice(0, 10).items)
    assert giant.slice(9_999_990, 10).users == 10


def test_a_dataset_can_be_sent_to_another_process() -> None:
    dataset = load(DataConfig(name="synthetic", devices=100), seed=1)
    copy = pickle.loads(pickle.dumps(dataset))
    assert np.array_equal(copy.slice(7, 5).items, dataset.slice(7, 5).items)


def test_movielens_itself(tmp_path: Path) -> None:
    config = DataConfig(data_dir=str(tmp_path))
    try:
        dataset = load(config)
    except DataError as error:
        pytest.skip(str(error))
    counts = statistics(dataset)
    assert (counts.users, counts.items, counts.interactions) == (943, 1152, 97953)
    assert counts.density == pytest.approx(97953 / (943 * 1152))
    assert statistics(load(config)) == counts
