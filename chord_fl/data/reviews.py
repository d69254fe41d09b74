"""Logs of reviews as their publishers release them: Amazon's CDs and Vinyl, and Yelp.

Files of gigabytes, most of it text that nobody needs here. They are read in blocks of whole lines. A fast parser takes
a block at once; a block that it stumbles over, or finds incomplete, goes line by line through a careful one, which
names the line at fault. What stays in memory is three numbers per review and each distinct id once.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json
from numpy.typing import NDArray

from chord_fl.config import DataConfig
from chord_fl.data.events import Events
from chord_fl.data.lines import OnProgress, blocks, silent
from chord_fl.errors import DataError

AMAZON = "https://nijianmo.github.io/amazon (2018) or https://jmcauley.ucsd.edu/data/amazon (2014)"
YELP = "https://www.yelp.com/dataset"

_REVIEWER = re.compile(r"A[0-9A-Z]{9,}")
_PRODUCT = re.compile(r"(B[0-9A-Z]{9}|[0-9]{9}[0-9X])")  # Amazon's own number, or the ISBN of a book
_SAMPLE = 1000  # lines by which to tell the columns of a table without a header

_SCHEMA = pa.schema([("user", pa.string()), ("item", pa.string()), ("time", pa.int64())])

Line = tuple[str, str, int]  # user, item, time


@dataclass(frozen=True)
class Format:
    """How to read lines. Both functions may raise; what `careful` says of a line is final.

    fast: a block of whole lines -> columns user and item (string) and time (int64), a row per line. Raises
        ArrowException for what it does not understand.
    careful: one line -> user, item and time. Raises ValueError with what is wrong.
    """

    fast: Callable[[bytes], pa.Table]
    careful: Callable[[str], Line]


def amazon_cd(config: DataConfig, home: Path, on_progress: OnProgress = silent) -> Events:
    """`read_amazon` of the file that is configured."""
    return read_amazon(Path(str(config.path)), on_progress)


def yelp(config: DataConfig, home: Path, on_progress: OnProgress = silent) -> Events:
    """`read_yelp` of the file that is configured."""
    return read_yelp(Path(str(config.path)), on_progress)


def read_amazon(path: Path, on_progress: OnProgress = silent) -> Events:
    """The events of Amazon's CDs and Vinyl, in file order; times are seconds.

    Takes the publisher's ratings (CSV without a header; item, user, rating, time in the release of 2018, user first in
    that of 2014) and reviews (JSON lines with reviewerID, asin and unixReviewTime), packed with gzip or not. The
    content tells which; the forms of the ids tell users from items.

    Raises DataError, naming the line, for a file that cannot be read or is something else, a line that is malformed, a
    field that is missing, and a time that is not a number.
    """
    found = blocks(path, on_progress)
    first = next(found, None)
    if first is None:
        raise DataError(f"{path} is empty")
    if first[1].lstrip().startswith(b"{"):
        form = _json_format(("reviewerID", "asin", "unixReviewTime"), pa.int64(), _unix_time)
    else:
        form = _csv_format(_columns(path, first[1]))
    return _collect(path, chain([first], found), form)


def read_yelp(path: Path, on_progress: OnProgress = silent) -> Events:
    """The events of Yelp's reviews (yelp_academic_dataset_review.json, or packed with gzip), in file order.

    Items are businesses. Times are seconds since 1970, taking the dates as they stand.

    Raises DataError, naming the line, for a file that cannot be read, a line that is malformed, a field that is
    missing, and a date that cannot be read.
    """
    form = _json_format(("user_id", "business_id", "date"), pa.string(), _date)
    return _collect(path, blocks(path, on_progress), form)


def _collect(path: Path, found: Iterator[tuple[int, bytes]], form: Format) -> Events:
    users: dict[str, int] = {}
    items: dict[str, int] = {}
    columns: list[list[NDArray[Any]]] = [[], [], []]
    for first, block in found:
        table = _parsed(path, first, block, form)
        columns[0].append(_codes(table.column("user"), users))
        columns[1].append(_codes(table.column("item"), items))
        columns[2].append(table.column("time").to_numpy())
    if not users:
        raise DataError(f"{path} holds no reviews")
    return Events(*(np.concatenate(parts, dtype=np.int64) for parts in columns))


def _parsed(path: Path, first: int, block: bytes, form: Format) -> pa.Table:
    """The columns of a block whose first line has the number `first`."""
    try:
        table = form.fast(block)
        # the fast parsers skip empty lines and take two objects in one line for two rows: neither is for them to judge
        if table.num_rows == block.count(b"\n") and _complete(table):
            return table
    except pa.ArrowException:
        pass
    rows = []
    for number, line in enumerate(block.split(b"\n"), first):
        if line.strip():
            try:
                rows.append(form.careful(line.decode()))
            except ValueError as error:
                raise DataError(f"{path}, line {number}: {error}") from error
    return pa.Table.from_arrays(
        [pa.array([row[place] for row in rows], kind) for place, kind in enumerate(_SCHEMA.types)], schema=_SCHEMA
    )


def _complete(table: pa.Table) -> bool:
    """Whether no field is missing. Raises ArrowInvalid for ids that are not text."""
    table.validate(full=True)
    user, item, time = table.columns
    empty = [pc.any(pc.equal(column, "")).as_py() for column in (user, item)]
    return not any(empty) and not any(column.null_count for column in (user, item, time))


def _codes(column: pa.ChunkedArray, known: dict[str, int]) -> NDArray[np.int32]:
    """Codes of a block's ids, [n] int32; ids not yet `known` get the next ones, in order of appearance."""
    encoded = column.combine_chunks().dictionary_encode()
    codes = [known.setdefault(word, len(known)) for word in encoded.dictionary.to_pylist()]
    places: NDArray[np.int32] = encoded.indices.to_numpy()
    return np.array(codes, dtype=np.int32)[places]


def _json_format(fields: tuple[str, str, str], kind: pa.DataType, to_time: Callable[[Any], int]) -> Format:
    """JSON lines with the user, the item and the time under the names `fields`; the time is of a `kind` there."""
    schema = pa.schema(zip(fields, (pa.string(), pa.string(), kind), strict=True))

    def fast(block: bytes) -> pa.Table:
        parse = pa.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
        user, item, time = pa.json.read_json(pa.BufferReader(block), parse_options=parse).select(fields).columns
        if pa.types.is_string(kind):
            time = time.cast(pa.timestamp("s")).cast(pa.int64())
        return pa.Table.from_arrays([user, item, time], schema=_SCHEMA)

    def careful(line: str) -> Line:
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise ValueError(f"not a JSON object, perhaps cut short: {line.strip()[:60]!r}")
        for field in fields:
            if row.get(field) in (None, ""):
                raise ValueError(f"no field {field!r}; its fields: {', '.join(row)[:200]}")
        user, item, time = (row[field] for field in fields)
        if not isinstance(user, str | int) or not isinstance(item, str | int):
            raise ValueError(f"{fields[0]} {user!r} and {fields[1]} {item!r} must be text"[:200])
        return str(user), str(item), to_time(time)

    return Format(fast, careful)


def _csv_format(columns: tuple[str, str, str, str]) -> Format:
    """A table without a header and without quotes, its four columns as named."""

    def fast(block: bytes) -> pa.Table:
        read = pa.csv.ReadOptions(column_names=columns)
        parse = pa.csv.ParseOptions(quote_char=False)
        convert = pa.csv.ConvertOptions(include_columns=_SCHEMA.names, column_types=_SCHEMA)
        return pa.csv.read_csv(pa.BufferReader(block), read, parse, convert).cast(_SCHEMA)

    def careful(line: str) -> Line:
        fields = [field.strip() for field in line.split(",")]
        if len(fields) != len(columns):
            raise ValueError(f"{len(fields)} fields, not {len(columns)} ({', '.join(columns)}): {line.strip()[:60]!r}")
        row = dict(zip(columns, fields, strict=True))
        for name in _SCHEMA.names:
            if not row[name]:
                raise ValueError(f"the {name} is missing")
        return row["user"], row["item"], _unix_time(row["time"])

    return Format(fast, careful)


def _columns(path: Path, block: bytes) -> tuple[str, str, str, str]:
    """The order of the columns of a ratings file, by the forms of the ids in its first lines."""
    rows = [line.strip().split(",") for line in block.decode(errors="replace").split("\n", _SAMPLE)[:_SAMPLE]]
    pairs = [(row[0], row[1]) for row in rows if len(row) == 4]
    user_first = sum(bool(_REVIEWER.fullmatch(a) and _PRODUCT.fullmatch(b)) for a, b in pairs)
    item_first = sum(bool(_PRODUCT.fullmatch(a) and _REVIEWER.fullmatch(b)) for a, b in pairs)
    if user_first == item_first:
        raise DataError(
            f"{path}: its first lines are neither JSON nor ratings with Amazon's ids (item,user,rating,time or "
            f"user,item,rating,time): get CDs_and_Vinyl from {AMAZON}; a table with a header is read with data.name csv"
        )
    return ("user", "item", "rating", "time") if user_first > item_first else ("item", "user", "rating", "time")


def _unix_time(value: Any) -> int:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not abs(number) < 2**53:
        raise ValueError(f"the time {str(value)[:60]!r} is not a number")
    return int(value) if isinstance(value, int) else int(number)


def _date(value: Any) -> int:
    try:
        date = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        date = None
    if date is None or date.tzinfo:
        raise ValueError(f"the date {str(value)[:60]!r} cannot be read: YYYY-MM-DD hh:mm:ss is expected")
    return int(date.replace(tzinfo=UTC).timestamp())
