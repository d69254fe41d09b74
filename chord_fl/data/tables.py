"""A table of the user's own as a log of events: CSV, TSV (both also gzipped) or Parquet, columns by name."""

import csv
import gzip
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from chord_fl.config import DataConfig
from chord_fl.data.events import Events
from chord_fl.data.lines import OnProgress, silent
from chord_fl.errors import DataError

# What counts as a missing value in text. "NA" does not: it is Namibia's code, and a perfectly good id.
_MISSING = ["", "nan", "NaN", "null", "NULL", "None", "<NA>"]


def table(config: DataConfig, home: Path, on_progress: OnProgress = silent) -> Events:
    """`read_table` of the file and columns that are configured."""
    return read_table(Path(str(config.path)), config.user_column, config.item_column, config.time_column)


def read_table(path: Path, user_column: str, item_column: str, time_column: str) -> Events:
    """The events of a file, in file order; other columns are ignored.

    The name decides the format: `.parquet`; `.tsv` is tab-separated; anything else is comma-separated; `.gz` after it
    is unpacked. Ids may be anything, and ids in text stay text: "7" and "07" are two users. Times are numbers of any
    unit or ISO 8601 dates (without a zone: UTC); the first row decides which.

    Raises DataError for a file that is missing or cannot be read, a column that is not there, and an empty table; and
    with the number of the first bad row, counted from 1 below the header, for a row with too many or too few fields, an
    id that is missing, and a time that is missing or cannot be read.
    """
    columns = [user_column, item_column, time_column]
    if len(set(columns)) < len(columns):
        raise DataError(f"user, item and time must be three different columns, got {', '.join(columns)}")
    if not path.is_file():
        raise DataError(f"no such file: {path} (data.path)")
    try:
        table = _read_parquet(path, columns) if path.suffix == ".parquet" else _read_text(path, columns)
    except (pa.ArrowException, OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as a table: {' '.join(str(error).split())}") from error
    if not table.num_rows:
        raise DataError(f"{path} has a header but no rows")
    return Events(
        users=_codes(path, user_column, table.column(user_column).to_pandas()),
        items=_codes(path, item_column, table.column(item_column).to_pandas()),
        times=_times(path, time_column, table.column(time_column)),
    )


def _read_parquet(path: Path, columns: list[str]) -> pa.Table:
    _check_columns(path, columns, pa.parquet.read_schema(path).names)
    return pa.parquet.read_table(path, columns=columns)


def _read_text(path: Path, columns: list[str]) -> pa.Table:
    tabs = ".tsv" in path.suffixes[-2:]
    uneven: list[pa.csv.InvalidRow] = []

    def stop(row: pa.csv.InvalidRow) -> str:
        uneven.append(row)
        return "error"

    one_thread = pa.csv.ReadOptions(use_threads=False)  # only then does an uneven row know its number
    parse = pa.csv.ParseOptions(delimiter="\t" if tabs else ",", newlines_in_values=True, invalid_row_handler=stop)
    words = pa.dictionary(pa.int32(), pa.string())
    user, item, time = columns
    convert = pa.csv.ConvertOptions(
        include_columns=columns,
        column_types={user: words, item: words, time: pa.string()},
        null_values=_MISSING,
        strings_can_be_null=True,
    )
    try:
        _check_columns(path, columns, _header(path, parse.delimiter))
        return pa.csv.read_csv(path, one_thread, parse, convert)
    except pa.ArrowInvalid as error:
        if not uneven:
            raise
        row = uneven[0]
        raise DataError(
            f"{path}: row {row.number - 1} has {row.actual_columns} fields, not {row.expected_columns}: {row.text!r}"
        ) from error


def _header(path: Path, delimiter: str) -> list[str]:
    # not with pyarrow's streaming reader: closed after the header, its read-ahead thread at times aborts the process
    unpacked: Any = gzip.open if path.suffix == ".gz" else open
    with unpacked(path, "rt", encoding="utf-8-sig", newline="") as file:
        names = next(csv.reader(file, delimiter=delimiter), [])
    if not names:
        raise DataError(f"{path} cannot be read as a table: it is empty")
    return names


def _check_columns(path: Path, wanted: list[str], found: list[str]) -> None:
    for key, name in zip(("user_column", "item_column", "time_column"), wanted, strict=True):
        if found.count(name) != 1:
            problem = "no column" if name not in found else "more than one column"
            raise DataError(f"{path} has {problem} {name!r} (data.{key}); its columns: {', '.join(found)}")


def _codes(path: Path, name: str, values: pd.Series) -> NDArray[np.int64]:
    """Codes 0, 1, ... of the distinct values, in order of first appearance, [n] int64."""
    try:
        codes = np.asarray(pd.factorize(values)[0], dtype=np.int64)
    except TypeError as error:
        raise DataError(f"{path}: column {name!r} holds {values.iloc[0]!r}, which cannot be an id") from error
    missing = np.flatnonzero(codes < 0)
    if len(missing):
        raise DataError(f"{path}: {name!r} is missing in row {missing[0] + 1}; remove such rows")
    return codes


def _times(path: Path, name: str, column: pa.ChunkedArray) -> NDArray[np.int64] | NDArray[np.float64]:
    """Times as numbers that sort, [n] int64 or float64."""
    if pa.types.is_string(column.type):
        with suppress(pa.ArrowInvalid):  # by far the most frequent case, and far faster than what follows
            column = column.cast(pa.int64())
    values = column.to_pandas()
    numbers = values if pd.api.types.is_datetime64_any_dtype(values) else pd.to_numeric(values, errors="coerce")
    if pd.api.types.is_numeric_dtype(numbers) and pd.notna(numbers.iloc[0]):
        times = numbers.to_numpy()
        bad = np.flatnonzero(~np.isfinite(times))
    else:
        texts = values if pd.api.types.is_datetime64_any_dtype(values) else values.astype(str)
        dates = pd.to_datetime(texts, format="ISO8601", utc=True, errors="coerce")
        times = dates.dt.tz_convert(None).to_numpy().astype("datetime64[ns]").astype(np.int64)
        bad = np.flatnonzero(dates.isna())
    if not len(bad):
        return np.asarray(times)
    value = values.iloc[bad[0]]
    if pd.isna(value):
        raise DataError(f"{path}: {name!r} is missing in row {bad[0] + 1}; remove such rows")
    raise DataError(f"{path}: {name!r} in row {bad[0] + 1} is {str(value)!r}, not a time: give numbers or ISO dates")
