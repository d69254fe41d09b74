"""What tells one file of data from another: its content, wherever it lies."""

import hashlib
from pathlib import Path
from typing import Any

from chord_fl.trees import Tree

# of a data set's configuration (chord_fl.config.DataConfig)


def of_release(config: Any) -> Tree:
    """A release that reading verifies is one content."""
    return {}


def of_content(config: Any) -> Tree:
    """The file that the user gave, if any."""
    return {} if config.path is None else {"sha256": sha256(Path(config.path))}


def of_ml_1m(config: Any) -> Tree:
    """A copy in another order is read too, with a warning."""
    return {} if config.path is None else {"sha256": sha256(movielens_1m(Path(config.path)))}


def of_sample(config: Any) -> Tree:
    """A file of gigabytes."""
    return {"sample": sample_sha256(Path(str(config.path)))}


def of_table(config: Any) -> Tree:
    """A table of the user's own, and which of its columns are read."""
    columns = {key: getattr(config, key) for key in ("user_column", "item_column", "time_column")}
    return columns | {"sha256": sha256(Path(str(config.path)))}


# of a file


def sha256(path: Path) -> str:
    """Of a file's content; empty for a file that cannot be read, which loading the data will say better."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def movielens_1m(path: Path) -> Path:
    """The file that is read where `path` may be a folder that holds it."""
    from chord_fl.data.movielens import ML_1M, file_in  # pandas: only who needs it pays for it

    return (file_in(ML_1M, path) or path) if path.is_dir() else path


def sample_sha256(path: Path) -> str:
    """Of a file's size and of up to 32 pieces of a MiB spread over it, the first and the last among them.

    Publishers' files have gigabytes, and a run asks several times in several processes. They are released and not
    edited, so size and pieces tell one from another (a packed one also ends with a checksum of its whole content).
    Neither name nor place nor time of the file counts: a copy elsewhere is the same data. Empty for a file that cannot
    be read, which loading the data will say better.
    """
    piece, pieces = 2**20, 32
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            digest = hashlib.sha256(str(size).encode())
            for number in range(pieces):
                file.seek(max(size - piece, 0) * number // (pieces - 1))
                digest.update(file.read(piece))
            return digest.hexdigest()
    except OSError:
        return ""
