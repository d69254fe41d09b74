"""Global weights in Flower's records: the matrix and the biases of every layer under its name, as float32.

A record comes from a peer: it is read as an array of the one shape and type that is expected, never as what it claims.
"""

import io
import math
from collections.abc import Sequence

import numpy as np
from flwr.app import Array, ArrayRecord
from numpy.typing import NDArray

from chord_fl.errors import WireError
from chord_fl.models.layouts import Layout

Floats = NDArray[np.float32]

ARRAYS, NUMBERS = "arrays", "metrics"  # records of a reply, as Flower's strategies call them
_STYPE = "numpy.ndarray"
_HEADER = 1024  # of numpy's format, at most


def shapes(layout: Layout) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the arrays of a model: `LAYER.weight` [out, in], then `LAYER.bias` [out]."""
    weights = {f"{layer.name}.weight": (layer.channels, layer.size) for layer in layout.layers}
    return weights | {f"{layer.name}.bias": (layer.channels,) for layer in layout.layers}


def array_bytes(layout: Layout) -> int:
    """Bytes of the numbers in such a record."""
    return 4 * (layout.weights + layout.channels)


def record_bytes(record: ArrayRecord) -> int:
    """Bytes of the numbers in a record, as it says."""
    return sum(math.prod(array.shape) * np.dtype(array.dtype).itemsize for array in record.values())


def write_arrays(layout: Layout, weights: Sequence[Floats], biases: Sequence[Floats]) -> ArrayRecord:
    """The record of these weights [out, in] and biases [out] per layer."""
    pairs = zip(shapes(layout), (*weights, *biases), strict=True)
    return ArrayRecord({name: Array(np.ascontiguousarray(values, dtype=np.float32)) for name, values in pairs})


def read_arrays(record: ArrayRecord, layout: Layout) -> tuple[list[Floats], list[Floats]]:
    """Weights [out, in] and biases [out] per layer.

    Raises WireError, naming the array, for one that is missing, unknown, of another type or shape, or not finite.
    """
    expected = shapes(layout)
    for name in sorted(expected.keys() ^ record.keys()):
        raise WireError(f"arrays: {name} is {'missing' if name in expected else 'unknown'}")
    found = [_read(name, record[name], shape) for name, shape in expected.items()]
    return found[: len(layout.layers)], found[len(layout.layers) :]


def _read(name: str, array: Array, shape: tuple[int, ...]) -> Floats:
    if array.stype != _STYPE:
        raise WireError(f"arrays: {name} is serialised as {array.stype[:40]!r}, expected {_STYPE!r}")
    wanted = np.dtype(np.float32)
    stream = io.BytesIO(array.data)
    try:  # the header first: nothing is allocated for what it claims, and no object is ever loaded
        version = np.lib.format.read_magic(stream)
        header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        found, fortran, kind = header(stream, max_header_size=_HEADER)
    except (KeyError, ValueError) as error:
        raise WireError(f"arrays: {name} cannot be read") from error
    # a strategy that averages in double precision sends that back
    claimed = (str(kind), found) == (array.dtype, tuple(array.shape))
    if kind not in (wanted, np.dtype(np.float64)) or found != shape or not claimed:
        raise WireError(f"arrays: {name} is {kind} {list(found)}, expected {wanted} {list(shape)}")
    body = array.data[stream.tell() :]
    if len(body) != math.prod(shape) * kind.itemsize:
        raise WireError(f"arrays: {name} has {len(body)} bytes, expected {math.prod(shape) * kind.itemsize}")
    with np.errstate(over="ignore"):  # what does not fit is refused below
        values = np.frombuffer(body, dtype=kind).reshape(shape, order="F" if fortran else "C").astype(np.float32)
    if not np.isfinite(values).all():
        raise WireError(f"arrays: {name} holds a value that is not finite")
    return values
