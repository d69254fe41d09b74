"""A text file of any size in blocks of whole lines, unpacked on the way, so that memory does not grow with the file."""

import gzip
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from chord_fl.errors import DataError

OnProgress = Callable[[int, int], None]  # bytes of the file read so far, and in all


def silent(done: int, total: int) -> None:
    """Progress that nobody wants to know of."""


BLOCK_BYTES = 8 * 2**20
_GZIP = b"\x1f\x8b"


def blocks(path: Path, on_progress: OnProgress = silent, size: int = BLOCK_BYTES) -> Iterator[tuple[int, bytes]]:
    """Pairs of the number of a block's first line, counted from 1, and the block: whole lines, each with its end.

    A block has about `size` bytes. Files packed with gzip are known by their content, whatever their name. A byte order
    mark is dropped.

    Raises DataError for a file that is missing or cannot be read, a packed one that is damaged or cut short (naming the
    last whole line), and a line that is longer than a block.
    """
    line = 1
    rest = b""
    try:
        with ExitStack() as stack:
            raw = stack.enter_context(path.open("rb"))
            total = path.stat().st_size
            packed = raw.read(2) == _GZIP
            raw.seek(0)
            file = stack.enter_context(gzip.GzipFile(fileobj=raw)) if packed else raw
            first = True
            while chunk := file.read(size):
                if first:
                    chunk = chunk.removeprefix(b"\xef\xbb\xbf")
                    first = False
                cut = chunk.rfind(b"\n") + 1
                if not cut and len(rest) + len(chunk) > 2 * size:
                    raise DataError(f"{path}: line {line} is longer than {size:,} bytes: this is not a file of lines")
                if cut:
                    block = rest + chunk[:cut]
                    rest = chunk[cut:]
                    yield line, block
                    line += block.count(b"\n")
                else:
                    rest += chunk
                on_progress(raw.tell(), total)
    except FileNotFoundError as error:
        raise DataError(f"no such file: {path} (data.path)") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} cannot be unpacked beyond line {line - 1}: it is damaged or cut short") from error
    except OSError as error:
        raise DataError(f"{path} (data.path) cannot be read: {error.strerror}") from error
    if rest:
        yield line, rest + b"\n"
