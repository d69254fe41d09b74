"""Random numbers that are the same on every machine and for every way of splitting the work.

A counter-based generator (numpy's Philox) gives a block of raw integers per row, a row being a device, a user or a
channel; row i's block sits at a fixed place of the stream. So any range of rows can be drawn in one call, without the
others, and comes out the same whoever draws it.
"""

import zlib

import numpy as np
from numpy.typing import NDArray

_WORDS_PER_STEP = 4  # one step of Philox's counter yields four 64-bit words


def raw(seed: int, purpose: str, first: int, rows: int, columns: int) -> NDArray[np.uint64]:
    """Raw 64-bit words [rows, columns] of rows `first .. first + rows - 1` of the stream (seed, purpose).

    A row's words depend on `columns` (rounded up to a multiple of four), so a purpose always asks for the same number.
    """
    steps = -(-columns // _WORDS_PER_STEP)
    key = np.array([seed, zlib.crc32(purpose.encode())], dtype=np.uint64)  # a list would pass large seeds by float64
    generator = np.random.Philox(key=key)
    generator.advance(first * steps)
    words = generator.random_raw(rows * steps * _WORDS_PER_STEP)
    return np.asarray(words, dtype=np.uint64).reshape(rows, -1)[:, :columns]


def uniform(seed: int, purpose: str, first: int, rows: int, columns: int) -> NDArray[np.float64]:
    """Uniform numbers in (0, 1), never 0 or 1, [rows, columns] float64; see `raw`."""
    return ((raw(seed, purpose, first, rows, columns) >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52


def normal(seed: int, purpose: str, first: int, rows: int, columns: int) -> NDArray[np.float64]:
    """Standard normal numbers [rows, columns] float64 (Box-Muller on `uniform`)."""
    u = uniform(seed, purpose, first, rows, 2 * columns)
    return np.sqrt(-2.0 * np.log(u[:, :columns])) * np.cos(2.0 * np.pi * u[:, columns:])
