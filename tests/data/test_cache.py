"""Sequences on disk: the same ones back, nothing from a damaged file, no failure where they cannot be kept."""

from pathlib import Path

import numpy as np
import pytest

from chord_fl.data import cache, reviews
from chord_fl.data.dataset import load
from chord_fl.data.interactions import Interactions
from tests.data.test_dataset import config, ratings

SEQUENCES = Interactions(np.array([3, 1, 2, 2, 1], dtype=np.int32), np.array([0, 3, 5]))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.npz"
    assert cache.read(path) is None
    cache.write(path, SEQUENCES, 3)
    found = cache.read(path)
    assert found is not None
    interactions, items = found
    assert (interactions.items.tolist(), interactions.offsets.tolist(), items) == ([3, 1, 2, 2, 1], [0, 3, 5], 3)
    assert (interactions.items.dtype, interactions.offsets.dtype) == (np.int32, np.int64)
    assert [file.name for file in path.parent.iterdir()] == ["file.npz"]


def test_a_damaged_file_counts_as_none(tmp_path: Path) -> None:
    path = tmp_path / "file.npz"
    cache.write(path, SEQUENCES, 3)
    whole = path.read_bytes()
    for content in (b"", b"text", whole[:-50], whole[: len(whole) // 2]):
        path.write_bytes(content)
        assert cache.read(path) is None
    np.savez(path, items=np.array([{}], dtype=object))
    assert cache.read(path) is None


def test_a_folder_that_cannot_be_written_is_no_failure(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    cache.write(tmp_path / "file" / "a.npz", SEQUENCES, 3)
    assert "cannot keep the sequences" in caplog.text


def test_the_identity_names_the_file(tmp_path: Path) -> None:
    one = cache.cache_file(tmp_path, {"name": "yelp", "core": 10})
    assert one == cache.cache_file(tmp_path, {"core": 10, "name": "yelp"})
    assert one != cache.cache_file(tmp_path, {"name": "yelp", "core": 5})


def test_a_review_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = ratings(tmp_path / "ratings.csv")
    changes = {"name": "amazon-cd", "data_dir": str(tmp_path / "data")}
    first = load(config(path, **changes))
    copy = tmp_path / "copy.csv"
    copy.write_bytes(path.read_bytes())
    monkeypatch.delattr(reviews, "read_amazon")
    for again in (load(config(path, **changes)), load(config(copy, **changes))):
        assert np.array_equal(again.slice(0, 6).items, first.slice(0, 6).items)
        assert (again.users, again.items) == (6, 5)
    with pytest.raises(NameError):
        load(config(path, **{**changes, "core": 4}))
    path.write_text(path.read_text() + "B00000000X,A000000000,1.0,1\n")
    with pytest.raises(NameError):
        load(config(path, **changes))
