"""A population of the user's own: phones as a CSV or Parquet file, or FedScale's capacities as JSON.

FedScale distributes its traces as pickles. A pickle runs whatever code its author put there, so none is read here;
docs/population.md has the three lines by which its owner turns one into JSON.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from chord_fl.errors import DataError

# column -> least and greatest value. Of ram_gb and memory_bytes there is one or both, the rest of the first line must
# be there, all others may
_REQUIRED = {"score": (0.0, 1e9), "downlink": (0.0, 1e15), "uplink": (0.0, 1e15)}
_MEMORY = {"ram_gb": (0.0, 1e6), "memory_bytes": (0.0, 1e15)}
_SHARES = {name: (0.0, 1.0) for name in ("charging", "metered", "busy")}
_OPTIONAL = {**_SHARES, "metered_bytes": (0.0, 1e15), "battery_wh": (0.0, 1e6)}
_POSITIVE = (*_REQUIRED, "battery_wh", "computation", "communication")


def read_phones(path: Path) -> dict[str, NDArray[np.float64]]:
    """Columns [rows] float64 of a CSV or Parquet file with a row per phone.

    Raises DataError: the file, and the row and column of the first value that is missing or out of range.
    """
    try:
        # blank lines are rows, so that a row's number is that of the file
        frame = (
            pd.read_parquet(path) if path.suffix.lower() == ".parquet" else pd.read_csv(path, skip_blank_lines=False)
        )
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DataError(f"population {path}: {_reason(error)}") from error
    if not isinstance(frame.index, pd.RangeIndex) and path.suffix.lower() != ".parquet":
        raise DataError(f"population {path}: rows have more fields than the header has names")
    missing = [name for name in _REQUIRED if name not in frame]
    if not set(_MEMORY) & set(frame.columns):
        missing.append(" or ".join(_MEMORY))
    if missing:
        raise DataError(f"population {path}: no column {missing[0]}; it has {', '.join(map(str, frame.columns))}")
    if frame.empty:
        raise DataError(f"population {path}: no rows")
    names = [*range(1, len(frame) + 1)]
    known = {name: limits for name, limits in {**_REQUIRED, **_MEMORY, **_OPTIONAL}.items() if name in frame}
    columns = {name: _column(path, "row", names, name, frame[name], limits) for name, limits in known.items()}
    if {"metered", "metered_bytes"} <= set(columns):
        stuck = (columns["metered"] == 1) & (columns["metered_bytes"] == 0)
        if stuck.any():
            where = f"population {path}, row {int(stuck.argmax()) + 1}, column metered_bytes"
            raise DataError(f"{where}: found 0, allowed: more than 0 where metered is 1, or nothing is ever moved")
    return columns


def read_capacities(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """FedScale's `client_device_capacity` as JSON, {id: {"computation": ms per sample, "communication": kbit/s}}.

    Milliseconds and bytes per second, [rows] float64 in the order of the file. Raises DataError: file, client, column.
    """
    clients = read_clients(path, "population")
    names = list(clients)
    found = []
    for column in ("computation", "communication"):
        values = [_entry(path, "population", name, clients[name], column) for name in names]
        found.append(_column(path, "client", names, column, values, (0.0, 1e15)))
    return found[0], found[1] * 1000 / 8


def read_clients(path: Path, what: str) -> dict[str, dict[str, Any]]:
    """The entries of a JSON file {id: {...}}. Raises DataError."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{what} {path}: {_reason(error)}") from error
    if not isinstance(found, dict) or not found:
        raise DataError(f"{what} {path}: expected an object with an entry per client")
    for name, entry in found.items():
        if not isinstance(entry, dict):
            raise DataError(f"{what} {path}, client {name}: expected an object, found {entry!r:.40}")
    return found


def _entry(path: Path, what: str, name: str, entry: dict[str, Any], column: str) -> Any:
    if column not in entry:
        raise DataError(f"{what} {path}, client {name}: no {column}")
    return entry[column]


def _column(
    path: Path, row: str, names: list[Any], column: str, values: Iterable[Any], limits: tuple[float, float]
) -> NDArray[np.float64]:
    """A column as numbers. Raises DataError for the first that is none, or beyond its limits."""
    given = pd.Series(list(values))
    numbers = pd.to_numeric(given, errors="coerce").to_numpy(dtype=np.float64)
    low, high = limits
    positive = column in _POSITIVE
    bad = ~((numbers > low if positive else numbers >= low) & (numbers <= high))  # NaN is neither
    if bad.any():
        place = int(bad.argmax())
        found = given[place].item() if isinstance(given[place], np.generic) else given[place]
        allowed = f"{'more than' if positive else 'at least'} {low:g} and at most {high:g}"
        raise DataError(
            f"population {path}, {row} {names[place]}, column {column}: found {found!r:.40}, allowed: {allowed}"
        )
    return numbers


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) and error.strerror else str(error)).splitlines()[0][:200]
