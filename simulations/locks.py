"""Locks between processes, for folders that more than one may want to fill. Needs Linux or macOS, as Ray does.

The system gives a lock back when its holder ends, however that happens, so none is ever stale.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO


@contextmanager
def lock(folder: Path, on_wait: Callable[[str], None] = lambda holder: None) -> Iterator[None]:
    """Hold what belongs to `folder` alone. While another process has it, wait, and say once who (its number)."""
    with _opened(folder) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            on_wait(file.read().strip() or "unknown")
            fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def is_locked(folder: Path) -> bool:
    """Whether another process holds the lock of `folder` right now."""
    if not _file(folder).exists():
        return False
    with _opened(folder) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _file(folder: Path) -> Path:
    return folder.with_name(folder.name + ".lock")


def _opened(folder: Path) -> TextIO:
    path = _file(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("a+")
