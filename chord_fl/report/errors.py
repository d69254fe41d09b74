"""Why devices of a run have no result: their errors, alike ones counted together."""

import re
from pathlib import Path

import pandas as pd
import pyarrow.dataset

from chord_fl.errors import printable

_NUMBER = re.compile(r"\d[\d.,]*")  # what tells the errors of two devices apart: seconds, bytes, ids


def errors_of(folder: Path) -> pd.DataFrame:
    """The errors in the `devices.parquet` of a run's folder, most common first.

    Columns: status; error, the text of the first such row; rows, how many there are; round and device of that first
    one. Errors that differ only in their numbers count as one. Texts come from devices: what cannot be printed in them
    (control characters, terminal escapes) is replaced.
    """
    columns = ["round", "device", "status", "error"]
    parts = [str(part) for part in sorted((folder / "devices.parquet").glob("*.parquet"))]
    if not parts:  # no round was finished
        return pd.DataFrame(columns=["status", "error", "rows", "round", "device"])
    table = pyarrow.dataset.dataset(parts).to_table(columns=columns, filter=pyarrow.dataset.field("error") != "")
    rows = table.to_pandas().sort_values(["round", "device"])
    rows["error"] = rows["error"].map(printable)
    kind = rows["error"].str.replace(_NUMBER, "#", regex=True)
    found = rows.groupby([rows["status"], kind.rename("kind")], sort=False).agg(
        error=("error", "first"), rows=("error", "size"), round=("round", "first"), device=("device", "first")
    )
    errors: pd.DataFrame = found.reset_index("status").sort_values("rows", ascending=False, kind="stable")
    return errors.reset_index(drop=True)
