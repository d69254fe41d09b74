"""Why devices of a run have no result: their errors, alike ones counted together."""

import re
from pathlib import Path

import pandas as pd
import pyarrow.dataset

from chord_fl.errors import printable

# what tells the errors of two devices apart: checksums, which are hexadecimal; seconds, bytes, ids
_NUMBER = re.compile(r"\b(?=[a-f]*\d)[0-9a-f]{6,}\b|\d[\d,]*(?:\.\d+)?")
_COLUMNS = ["round", "device", "status", "error"]


def counted(rows: pd.DataFrame) -> pd.DataFrame:
    """The errors in rows of `devices.parquet` (round, device, status, error), most common first.

    Columns: status; kind, the error with N for its numbers, alike for all that are counted as one; error, the text of
    the first such row; rows, how many there are; round and device of that first one. Texts come from devices: what
    cannot be printed in them (control characters, terminal escapes) is replaced.
    """
    rows = rows.loc[rows["error"] != "", _COLUMNS].astype({"status": str, "error": str})
    rows = rows.sort_values(["round", "device"], kind="stable")
    texts = {text: printable(text) for text in rows["error"].unique()}
    kinds = {text: _NUMBER.sub("N", shown) for text, shown in texts.items()}
    rows = rows.assign(kind=rows["error"].map(kinds).astype(object), error=rows["error"].map(texts).astype(object))
    found = rows.groupby(["status", "kind"], sort=False, as_index=False).agg(
        error=("error", "first"), rows=("error", "size"), round=("round", "first"), device=("device", "first")
    )
    return found.sort_values("rows", ascending=False, kind="stable", ignore_index=True)


def errors_of(folder: Path) -> pd.DataFrame:
    """Those of the run in `folder`, without their kind; none before a round is finished."""
    parts = [str(part) for part in sorted((folder / "devices.parquet").glob("*.parquet"))]
    if not parts:
        return counted(pd.DataFrame(columns=_COLUMNS)).drop(columns="kind")
    wanted = pyarrow.dataset.field("error") != ""
    table = pyarrow.dataset.dataset(parts).to_table(columns=_COLUMNS, filter=wanted)
    return counted(table.to_pandas()).drop(columns="kind")
