"""Data sets by configuration: how many users, which users, and what is refused."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from chord_fl.config import DataConfig
from chord_fl.data.dataset import DEFAULT_DEVICES, POPULATIONS, Size, load, statistics
from chord_fl.data.interactions import held_out
from chord_fl.errors import DataError


def write_log(path: Path, users: int = 6, items: int = 5) -> Path:
    rows = [f"user {user},item {item},{(item * 7 + user) % 5}" for user in range(users) for item in range(items)]
    path.write_text("user,item,timestamp\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return path


def ratings(path: Path, users: int = 6, items: int = 5) -> Path:
    """The same log as Amazon's ratings."""
    rows = (f"B{item:09d},A{user:09d},5.0,{(item * 7 + user) % 5}\n" for user in range(users) for item in range(items))
    path.write_text("".join(rows), encoding="utf-8")
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


@pytest.mark.parametrize(("name", "size"), POPULATIONS.items())
def test_a_population_of_the_papers_size(name: str, size: Size) -> None:
    whole = load(DataConfig(name=name), seed=5)
    counts = statistics(whole)
    assert Size(counts.users, counts.items, counts.interactions) == size
    part = load(DataConfig(name=name, devices=5_000), seed=5)
    assert (part.users, part.items) == (5_000, size.items)
    found, expected = part.slice(3_000, 2_000), whole.slice(2_990, 2_011)
    assert np.array_equal(found.items, expected.rows(10, 2_000).items)
    assert np.array_equal(found.lengths, expected.rows(10, 2_000).lengths)
    assert (expected.lengths.min(), whole.slice(0, whole.users).items.max()) >= (10, 0.9 * size.items)
    assert whole.slice(whole.users, 0).users == 0
    with pytest.raises(DataError, match=rf"data.devices is {size.users + 1}, but {name} has only {size.users} users"):
        load(DataConfig(name=name, devices=size.users + 1))


def test_amazon_and_yelp_from_end_to_end(tmp_path: Path) -> None:
    table = load(config(write_log(tmp_path / "log.csv")))
    for name, path in (("amazon-cd", ratings(tmp_path / "ratings.csv")), ("yelp", yelp(tmp_path / "yelp.json"))):
        seen: list[tuple[int, int]] = []
        dataset = load(
            config(path, name=name, data_dir=str(tmp_path)), on_progress=lambda *share, seen=seen: seen.append(share)
        )
        assert (dataset.name, dataset.users, dataset.items) == (name, 6, 5)
        assert np.array_equal(dataset.slice(0, 6).items, table.slice(0, 6).items)
        assert seen[-1] == (path.stat().st_size, path.stat().st_size)
        with pytest.raises(DataError, match=r"nothing of the 30 interactions in .* is left after the 7-core filter"):
            load(config(path, name=name, data_dir=str(tmp_path), core=7))
        with pytest.raises(DataError, match=r"no such file: .*absent"):
            load(config(tmp_path / "absent", name=name, data_dir=str(tmp_path)))


def yelp(path: Path) -> Path:
    rows = (
        f'{{"user_id": "u{user}", "business_id": "b{item}", "date": "2020-01-01 00:00:0{(item * 7 + user) % 5}"}}\n'
        for user in range(6)
        for item in range(5)
    )
    path.write_text("".join(rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["csv", "amazon-cd", "yelp"])
def test_a_file_of_the_user_needs_a_path(name: str) -> None:
    with pytest.raises(ValueError, match=f"data.path is required when data.name is {name}"):
        DataConfig(name=name)


@pytest.mark.parametrize("name", ["amazon-cd", "yelp"])
def test_a_big_file_is_known_by_its_size_and_samples(tmp_path: Path, name: str) -> None:
    def identity(path: Path) -> object:
        return DataConfig(name=name, path=str(path)).identity()

    for file, content in (("a", b"x" * 2**22), ("b", b"x" * 2**22), ("c", b"x" * 2**22 + b"x"), ("d", b"")):
        (tmp_path / file).write_bytes(content)
    assert identity(tmp_path / "a") == identity(tmp_path / "b")
    assert len({str(identity(tmp_path / file)) for file in "acd"}) == 3
    for place in (0, 2**21, 2**22 - 1):
        changed = bytearray(b"x" * 2**22)
        changed[place] = 0
        (tmp_path / "b").write_bytes(changed)
        assert identity(tmp_path / "a") != identity(tmp_path / "b")


def test_identities_say_what_matters() -> None:
    assert DataConfig(name="cd-like", core=5, items=50).identity() == {"name": "cd-like"}
    assert DataConfig(name="ml-1m", core=5, items=50).identity() == {"name": "ml-1m", "core": 5}


def test_movielens_1m_of_the_user_is_known_by_its_content(tmp_path: Path) -> None:
    def identity(path: Path) -> object:
        return DataConfig(name="ml-1m", path=str(path)).identity()

    for folder, content in (("a", "1::1::5::7\n1::2::5::7\n"), ("b", "1::2::5::7\n1::1::5::7\n")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "ratings.dat").write_text(content)
    assert identity(tmp_path / "a" / "ratings.dat") == identity(tmp_path / "a") != identity(tmp_path / "b")
    (tmp_path / "copy").write_text((tmp_path / "a" / "ratings.dat").read_text())
    assert identity(tmp_path / "copy") == identity(tmp_path / "a")
    assert DataConfig(path=str(tmp_path / "a")).identity() == {"name": "ml-100k", "core": 10}  # has one content


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


def test_movielens_1m_itself(tmp_path: Path) -> None:
    config = DataConfig(name="ml-1m", data_dir=str(tmp_path))
    try:
        dataset = load(config)
    except DataError as error:
        pytest.skip(str(error))
    counts = statistics(dataset)
    assert (counts.users, counts.items, counts.interactions) == (6040, 3260, 998539)
    assert statistics(load(config)) == counts  # now from the sequences kept
