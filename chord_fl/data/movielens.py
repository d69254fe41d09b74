"""MovieLens-100K: where it comes from, and the proof that it is what its publisher released.

Its terms forbid passing it on, so it is never part of this project; each user's machine obtains its own copy.
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
from pathlib import Path

import numpy as np
import pandas as pd

from chord_fl.data.events import Events
from chord_fl.errors import DataError

# Of the publisher's u.data. RecBole's ml-100k.inter is the same file byte for byte below a header line of its own
# (whole, it has 4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff), so one checksum proves both, order
# of rows included: with three quarters of the timestamps tied, that order is part of the data.
SHA256 = "06416e597f82b7342361e41163890c81036900f418ad91315590814211dca490"

URL = "https://files.grouplens.org/datasets/movielens/ml-100k.zip"
TERMS = "https://files.grouplens.org/datasets/movielens/ml-100k-README.txt"
WHEEL = "recbole==1.2.1"

_NAMES = ("u.data", "ml-100k.inter")
_HEADER = b"user_id:token\t"
_SOCKET_SECONDS = 10
_PIP_SECONDS = 300
_FAILURES = (OSError, http.client.HTTPException, zipfile.BadZipFile, KeyError, subprocess.SubprocessError, DataError)

logger = logging.getLogger("chord_fl")


def movielens_100k(path: Path | None, cache: Path) -> Events:
    """The 100,000 events of MovieLens-100K, in file order.

    Comes from `path` if given (u.data, ml-100k.inter, or a directory that holds one of them); else from the directory
    `cache`; else from the publisher; else from the copy inside RecBole's wheel, which pip fetches and nothing runs.
    What was fetched is kept in `cache` as u.data. Whatever the source, the content is verified.

    Raises DataError if the file is missing, is not the published data, cannot be kept, or can be had from nowhere.
    """
    if path is not None:
        return _events(_verified(_read(path), f"{path} (data.path)", f"get it anew from {URL}"))
    kept = _file_in(cache)
    if kept is not None:
        return _events(_verified(_read(kept), str(kept), "delete the file and run again to fetch it anew"))
    data = _download(cache)
    _write(cache / "u.data", data)
    return _events(data)


def _file_in(directory: Path) -> Path | None:
    return next((directory / name for name in _NAMES if (directory / name).is_file()), None)


def _read(path: Path) -> bytes:
    file = _file_in(path) if path.is_dir() else path
    if file is None:
        raise DataError(f"{path} (data.path) holds neither {' nor '.join(_NAMES)}")
    try:
        return file.read_bytes()
    except OSError as error:
        raise DataError(f"MovieLens-100K cannot be read: {error.strerror}: {file}") from error


def _verified(data: bytes, source: str, remedy: str) -> bytes:
    """The content as the publisher's u.data has it: no header, Unix line ends."""
    if data.startswith(_HEADER):
        data = data.partition(b"\n")[2]
    data = data.replace(b"\r\n", b"\n")
    found = hashlib.sha256(data).hexdigest()
    if found != SHA256:
        raise DataError(
            f"{source} is not MovieLens-100K as published (SHA-256 {found[:8]}..., not {SHA256[:8]}...): {remedy}"
        )
    return data


def _events(data: bytes) -> Events:
    rows = pd.read_csv(io.BytesIO(data), sep="\t", header=None, dtype=np.int64).to_numpy()
    return Events(users=pd.factorize(rows[:, 0])[0], items=pd.factorize(rows[:, 1])[0], times=rows[:, 3])


def _download(cache: Path) -> bytes:
    """u.data, from the first source that has it."""
    logger.warning("downloading MovieLens-100K into %s (5 MB; terms of use: %s)", cache, TERMS)
    failures = []
    for source, fetch in ((URL, _from_publisher), (f"the wheel {WHEEL}", _from_wheel)):
        try:
            return _verified(fetch(), source, "not used")
        except _FAILURES as error:
            failures.append(f"{source}: {' '.join(str(error).split())}")
    raise DataError(
        f"MovieLens-100K cannot be downloaded ({'; '.join(failures)}): get {URL} on a machine with network access, "
        "unpack it, and point data.path to u.data"
    )


def _from_publisher() -> bytes:
    with urllib.request.urlopen(URL, timeout=_SOCKET_SECONDS) as answer:
        return _member(io.BytesIO(answer.read()), "ml-100k/u.data")


def _from_wheel() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
        command += ["--no-deps", "--only-binary=:all:", "--dest", folder, WHEEL]
        ended = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_PIP_SECONDS, check=False
        )
        wheels = list(Path(folder).glob("*.whl"))
        if ended.returncode or not wheels:
            lines = ended.stderr.strip().splitlines()
            raise OSError(f"pip download failed: {lines[-1] if lines else f'exit code {ended.returncode}'}")
        return _member(wheels[0], "recbole/dataset_example/ml-100k/ml-100k.inter")


def _member(archive: Path | io.BytesIO, name: str) -> bytes:
    with zipfile.ZipFile(archive) as opened:
        return opened.read(name)


def _write(path: Path, data: bytes) -> None:
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
        raise DataError(f"cannot keep MovieLens-100K in {path.parent}: {error.strerror}; set data.data_dir") from error
