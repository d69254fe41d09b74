"""The rows of a round: who came too late, what both exchanges cost together, and how long the round lasted.

Rows are by device. `status` holds numbers of `Status` until they go on record.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from chord_fl.config import ClockConfig
from chord_fl.report.record import missing_rows
from chord_fl.status import ABSENT, UNASKED, Status, word
from strategies.messages import MODELLED, RESULTS

IDLE_SECONDS = 60.0  # assumption: a cloud to which nobody came looks again after a minute
_SUMMED = ("seconds", "virtual_seconds", "joules")  # over the exchanges of a round
_STATES = tuple(name for name in MODELLED if name not in ("status", *_SUMMED))
_WAITED_FOR = (Status.LATE, Status.DROPPED, Status.LOST, Status.BATTERY)  # a cloud cannot know that they will not come


def without_result(devices: np.ndarray, reasons: list[str], statuses: np.ndarray | None = None) -> pd.DataFrame:
    """Rows of devices that have no result, with the reasons; an error that no phone announced is a failure."""
    codes = np.full(len(devices), int(Status.FAILED)) if statuses is None else np.asarray(statuses)
    codes = np.where(codes == Status.OK, int(Status.FAILED), codes)
    return missing_rows(devices, "").assign(**dict.fromkeys(MODELLED, 0)).assign(error=list(reasons), status=codes)


def judge(rows: pd.DataFrame, deadline: float | None) -> None:
    """Mark in `rows` what failed without saying so, and, past the `deadline`, who is late."""
    fine = rows["error"] == ""
    rows.loc[~fine & (rows["status"] == Status.OK), "status"] = int(Status.FAILED)
    if deadline is not None:
        late = fine & (rows["status"] == Status.OK) & (rows["virtual_seconds"] > deadline)
        rows.loc[late, "status"] = int(Status.LATE)
        took = rows.loc[late, "virtual_seconds"]
        rows.loc[late, "error"] = [f"late: {seconds:.4g} s, {deadline:g} allowed" for seconds in took]


def going_on(rows: pd.DataFrame) -> NDArray[np.bool_]:
    """Who of the `rows` of a first exchange takes part in the last one, [rows]."""
    return ((rows["error"] == "") & ~rows["status"].isin(UNASKED)).to_numpy()


def settle(rows: pd.DataFrame, first: pd.DataFrame, deadline: float | None) -> pd.DataFrame:
    """The rows of a round: `rows` of its last exchange with what the `first` one cost, judged; no error has results.

    What a device computed in the first exchange is part of its adaptation. `first` may be empty, or lack devices.
    """
    rows, before = rows.copy(), first.reindex(rows.index)
    for name in _SUMMED[1:]:
        rows[name] += before[name].fillna(0.0)
    stopped = (rows["error"] != "") | rows["status"].isin(UNASKED)
    never = rows.index.isin(first.index) & stopped & (rows["bandwidth_budget_bytes"] == 0)
    for name in _STATES:
        rows.loc[never, name] = before.loc[never, name].astype(rows[name].dtype)
    judge(rows, deadline)
    unranked = (rows["error"] == "") & (rows["status"] == Status.OK) & (rows["rank"] < 1)
    rows.loc[unranked, "status"], rows.loc[unranked, "error"] = int(Status.FAILED), "no rank"
    silent = (rows["error"] == "") & ~rows["status"].isin((Status.OK, *UNASKED))
    rows.loc[silent, "error"] = [word(Status(code)) for code in rows.loc[silent, "status"]]
    rows.loc[rows["status"] != Status.OK, list(RESULTS)] = 0  # what it computed on the way to an error is no result
    spent = before["seconds"].fillna(0.0)
    return rows.assign(
        seconds=rows["seconds"] + spent,
        adaptation_seconds=rows["adaptation_seconds"] + spent,
        asked=before["asked"] == 1,
        drift=before["drift"].astype(np.float64),
    )


def duration(rows: pd.DataFrame, clock: ClockConfig) -> float:
    """Seconds of virtual time from the start of this round to that of the next.

    A round lasts until its last device, or until the deadline where the cloud waits in vain for one.
    """
    there = ~rows["status"].isin(ABSENT) | (rows["virtual_seconds"] > 0)  # some only train, and are asked for no result
    lasts = float(rows.loc[there, "virtual_seconds"].max()) if there.any() else IDLE_SECONDS
    if clock.deadline is not None and (lasts > clock.deadline or rows["status"].isin(_WAITED_FOR).any()):
        lasts = clock.deadline
    return max(lasts, clock.interval)


def named(rows: pd.DataFrame) -> pd.DataFrame:
    """The same with the names of statuses, in the order of devices."""
    return rows.assign(status=rows["status"].map({int(status): word(status) for status in Status})).sort_index()
