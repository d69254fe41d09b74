"""Blocks of whole lines: nothing lost, nothing cut, lines counted, faults in one line."""

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chord_fl.data.lines import blocks
from chord_fl.errors import DataError


@given(st.lists(st.text("abé", max_size=20)), st.booleans(), st.booleans(), st.integers(70, 200))
def test_every_line_comes_once_and_whole(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], packed: bool, last_ends: bool, size: int
) -> None:
    text = "\n".join(lines) + ("\n" if last_ends else "")
    path = tmp_path_factory.mktemp("lines") / "file"
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    found = list(blocks(path, size=size))
    assert b"".join(block for _, block in found).decode() == text + ("\n" if text and not text.endswith("\n") else "")
    number = 1
    for first, block in found:
        assert (first, block[-1:]) == (number, b"\n")
        number += block.count(b"\n")


def test_progress_reaches_the_size_of_the_file(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    path = tmp_path / "file"
    path.write_text("line\n" * 1000)
    list(blocks(path, lambda done, total: seen.append((done, total)), size=1024))
    assert seen[-1] == (5000, 5000)
    assert seen == sorted(seen)
    assert len(seen) == 5


def test_a_byte_order_mark_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"\xef\xbb\xbfa\n")
    assert list(blocks(tmp_path / "file")) == [(1, b"a\n")]


def test_faults_of_the_file(tmp_path: Path) -> None:
    def read(path: Path) -> None:
        list(blocks(path, size=1000))

    with pytest.raises(DataError, match=r"no such file: .*absent"):
        read(tmp_path / "absent")
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        read(tmp_path)
    whole = gzip.compress(b"".join(b"line %d\n" % number for number in range(10_000)))
    for content in (whole[: len(whole) // 2], whole[:-4], whole[:1000] + b"xxxx" + whole[1004:], whole + b"rubbish"):
        (tmp_path / "packed").write_bytes(content)
        with pytest.raises(DataError, match=r"packed cannot be unpacked beyond line \d+: it is damaged or cut short"):
            read(tmp_path / "packed")
    (tmp_path / "long").write_text("short\n" + "x" * 10_000)
    with pytest.raises(DataError, match=r"long: line 2 is longer than 1,000 bytes"):
        read(tmp_path / "long")
