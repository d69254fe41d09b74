"""Sequences kept on disk, so that a big file is parsed and filtered once and not by every process of every run."""

import hashlib
import json
import logging
import os
import uuid
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from chord_fl.data.interactions import Interactions

VERSION = 1  # raised whenever the same file would give other sequences

logger = logging.getLogger("chord_fl")


def cache_file(folder: Path, identity: Mapping[str, Any]) -> Path:
    """Where the sequences of the data set with this identity lie."""
    view = json.dumps({**identity, "version": VERSION}, sort_keys=True)
    return folder / f"{identity['name']}-{hashlib.sha256(view.encode()).hexdigest()[:16]}.npz"


def read(path: Path) -> tuple[Interactions, int] | None:
    """The sequences kept in `path` and the number of items; None where there is nothing, or nothing that is whole."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            items, offsets, n_items = arrays["items"], arrays["offsets"], int(arrays["n_items"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return Interactions(items, offsets), n_items


def write(path: Path, interactions: Interactions, n_items: int) -> None:
    """Keep sequences in `path`, all or nothing. Where that cannot be done, a log line says so: only time is lost."""
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                np.savez(file, items=interactions.items, offsets=interactions.offsets, n_items=np.int64(n_items))
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        logger.warning("cannot keep the sequences in %s: %s; the file is read anew each time", path, error.strerror)
