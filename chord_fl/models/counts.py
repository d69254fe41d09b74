"""What the strategies that count hold instead of a network: how popular items are, and which follow which.

Cloud and devices score with the same integers, so that a sum has one value whatever the order of its terms. On the wire
a table is a safetensors file, like every shipment.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import safetensors
import torch
from numpy.typing import NDArray
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays
from torch import Tensor

from chord_fl.config import ModelConfig
from chord_fl.errors import WireError
from chord_fl.models.spec import ModelSpec

MOST_NEIGHBOURS = 1024  # of an item
LONGEST = 1000  # recent items of a device that may have a weight
MOST_POPULAR = 2**28  # counts are clipped here: with it and LONGEST, no score exceeds 63 bits

_FORMAT = 1
_KEY = "chord-fl counts"
_MAX_BYTES = 2**31
_PARTS = ("popularity", "neighbours", "weights", "recency")


@dataclass(frozen=True, eq=False)
class CountTable:
    """Popularity and co-visitation of the items 1 .. n; row and entry 0 stand for padding.

    popularity: [n + 1] uint32, at most MOST_POPULAR.
    neighbours: [n + 1, K] uint16, or uint32 for a catalogue that does not fit; the strongest first, 0 for none.
    weights: [n + 1, K] uint16, of the neighbours.
    recency: [r] uint8, what a device's last r items count for, oldest first. K and r may be 0.
    fingerprint: 4 bytes, of the shipment that the table came in; empty where it was made.
    """

    popularity: NDArray[np.uint32]
    neighbours: NDArray[Any]
    weights: NDArray[np.uint16]
    recency: NDArray[np.uint8]
    fingerprint: bytes = b""

    @property
    def items(self) -> int:
        """Items of the catalogue."""
        return len(self.popularity) - 1

    @property
    def nbytes(self) -> int:
        """Bytes of the four arrays: on the wire, and as a device keeps them."""
        return sum(int(getattr(self, name).nbytes) for name in _PARTS)

    def scores(self, windows: Tensor) -> Tensor:
        """Scores [B, n + 1] int64 of all items after `windows` [B, r] int64, left-padded with 0.

        Weights of the neighbours of the recent items, summed; popularity decides among equals. Column 0 means nothing.
        """
        neighbours, weights, popularity, recency = self._tensors
        strength = (weights[windows] * recency[:, None]).flatten(1)
        total = torch.zeros(len(windows), len(popularity), dtype=torch.int64)
        total.scatter_add_(1, neighbours[windows].flatten(1).long(), strength)
        return total * (1 + popularity.max()) + popularity

    @cached_property
    def _tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        # torch neither indexes by nor computes with unsigned 16 and 32 bits
        neighbours, weights = (
            torch.from_numpy(part.astype(np.int64)).to(torch.int32) for part in (self.neighbours, self.weights)
        )
        popularity, recency = (torch.from_numpy(part.astype(np.int64)) for part in (self.popularity, self.recency))
        return neighbours, weights, popularity, recency


def id_type(items: int) -> type[np.uint16] | type[np.uint32]:
    """The type of `neighbours` for a catalogue of `items`."""
    return np.uint16 if items < 2**16 else np.uint32


def pack(table: CountTable) -> bytes:
    """Serialise a table for the devices."""
    arrays = {name: np.ascontiguousarray(getattr(table, name)) for name in _PARTS}
    return save_arrays(arrays, {_KEY: json.dumps({"format": _FORMAT, "items": table.items})})


def unpack(shipment: bytes, sha256: str) -> CountTable:
    """The table in `shipment`, whose SHA-256 the cloud announced.

    Raises WireError naming what is wrong: the hash, the header, or an array that is missing, unknown, of another type
    or shape, or out of range.
    """
    if len(shipment) > _MAX_BYTES:
        raise WireError(f"shipment: {len(shipment)} bytes, more than the {_MAX_BYTES} allowed")
    found = hashlib.sha256(shipment).hexdigest()
    if found != sha256:
        raise WireError(f"shipment: SHA-256 {found[:12]}, announced {sha256[:12]}")
    try:
        arrays = load_arrays(shipment)
        # safetensors exposes the metadata of files only; the layout is eight bytes of length, then JSON
        length = int.from_bytes(shipment[:8], "little")
        header = json.loads(json.loads(shipment[8 : 8 + length])["__metadata__"][_KEY])
        format_, items = header["format"], header["items"]
        if type(items) is not int or items < 1 or format_ != _FORMAT:
            raise ValueError(f"format {format_!r}, {items!r} items")
    except (safetensors.SafetensorError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise WireError(f"shipment: header unreadable ({error})") from error
    if set(arrays) != set(_PARTS):
        raise WireError(f"shipment: arrays {sorted(arrays)}, expected {sorted(_PARTS)}")
    _check(arrays, items)
    return CountTable(**arrays, fingerprint=fingerprint_of(sha256))


def fingerprint_of(sha256: str) -> bytes:
    """What candidates for a shipment of this SHA-256 are marked with, 4 bytes."""
    return bytes.fromhex(sha256)[:4]


def _check(arrays: Mapping[str, NDArray[Any]], items: int) -> None:
    """Raise WireError unless types, shapes and ranges are those of a table of `items`."""
    rows, kept, recent = items + 1, arrays["neighbours"].shape[-1:], arrays["recency"].shape[-1:]
    expected: dict[str, tuple[type, tuple[int, ...], int | None]] = {
        "popularity": (np.uint32, (rows,), MOST_POPULAR),
        "neighbours": (id_type(items), (rows, *kept), items),
        "weights": (np.uint16, (rows, *kept), None),
        "recency": (np.uint8, recent, None),
    }
    for name, (kind, shape, most) in expected.items():
        array = arrays[name]
        if array.dtype != kind or array.shape != shape:
            raise WireError(
                f"shipment: {name} is {array.dtype} {list(array.shape)}, expected {kind.__name__} {list(shape)}"
            )
        if most is not None and array.size and int(array.max()) > most:
            raise WireError(f"shipment: {name} holds {int(array.max())}, at most {most} allowed")
    if kept and kept[0] > MOST_NEIGHBOURS:
        raise WireError(f"shipment: neighbours has {kept[0]} columns, at most {MOST_NEIGHBOURS} allowed")
    ordered = np.sort(arrays["neighbours"], axis=1) if kept else arrays["neighbours"]
    if ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] > 0)).any():
        raise WireError("shipment: neighbours names an item twice in a row")  # a sum of its weights might overflow
    if not kept or not recent or recent[0] > LONGEST:
        raise WireError(f"shipment: recency has {list(recent)} entries, at most {LONGEST} allowed")


def reference_spec(config: ModelConfig, items: int, seed: int) -> ModelSpec:
    """The model that the other strategies would put on the devices.

    What a simulated phone has to spare is drawn as a share of it; with it, the population is the same under all
    strategies.
    """
    return ModelSpec(
        config.backbone, items, config.blocks, config.dim, config.window, config.history, config.levels, seed, 1.0
    )
