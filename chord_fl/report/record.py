"""What a run leaves on disk: a row per device and round, a row per round, one summary. Written after every round.

Rows go into the folders `devices.parquet` and `ledger.parquet`, and where there are plans `channels.parquet`, a part
for each round, and are then forgotten here: what a round costs does not grow with the rounds before it. In all files
bytes are payload bytes, and totals over the rows they cover; the envelope is apart.
"""

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from chord_fl.metrics import METRICS, hit_rate, ndcg, sums_of_metrics
from chord_fl.status import ABSENT, EXPECTED, Status, word
from chord_fl.wire.ledger import Ledger, Purpose

COLUMNS = {
    "round": np.int64,
    "device": np.int64,
    "strategy": str,
    "average_bits": np.float64,
    "memory_bytes": np.int64,
    "memory_budget_bytes": np.int64,
    "uplink_bytes": np.int64,
    "downlink_bytes": np.int64,
    "envelope_bytes": np.int64,
    "rank": np.int64,
    "ndcg@10": np.float64,
    "hr@10": np.float64,
    "rank_stranger": np.int64,
    "asked": np.bool_,
    "drift": np.float64,
    "seconds": np.float64,
    "adaptation_seconds": np.float64,
    "status": str,
    "virtual_seconds": np.float64,
    "joules": np.float64,
    "battery": np.float64,
    "charging": np.bool_,
    "metered": np.bool_,
    "busy": np.bool_,
    "bandwidth_budget_bytes": np.int64,
    "bits_budget": np.float64,
    "error": str,
}


# what travels, either way, to make a model its user's own: a profile and a plan, or matrices trained for everybody
ADAPTATION: tuple[Purpose, ...] = ("profile", "plan", "weights")
_PLAN: tuple[Purpose, ...] = ("profile", "plan")


@dataclass
class Round:
    """What a strategy knows at the end of a round."""

    number: int
    rows: pd.DataFrame  # by device: average_bits, memory_bytes, memory_budget_bytes, rank, rank_stranger, ..., error
    plan_difference: float
    started: float  # time.perf_counter() when it began
    virtual_start: float = 0.0  # seconds of virtual time when it began and when it was over
    virtual_end: float = 0.0
    channels: pd.DataFrame | None = None  # of the plans, as `report.channels.count_bits` counts them


class Record:
    """Collects rounds and keeps the files of the run's folder up to date with what is finished."""

    def __init__(self, folder: Path, facts: dict[str, Any], devices: int) -> None:
        self.folder, self.devices = folder, devices
        self.ledger = Ledger()  # of the round that is not finished
        self._facts = facts  # strategy, dataset, backbone, seed, param_mbit and protocol: what is known beforehand
        self._sums: Counter[str] = Counter()  # over all rounds
        self._gains = np.zeros((2, devices))  # own minus stranger's NDCG@10 of each device, and in how many rounds
        self._rounds: list[dict[str, Any]] = []
        self._started = time.perf_counter()
        self.listeners: list[Callable[[Mapping[str, Any]], None]] = []  # told each new row of rounds.csv
        self.summary: dict[str, Any] = {}  # the figures of the whole run, up to the last finished round
        self.startup_seconds = 0.0  # of the engine, before the first round
        self.virtual_seconds = 0.0  # virtual time at the end of the last finished round

    def add(self, done: Round) -> None:
        """Take a finished round, and bring every file up to date."""
        bytes_ = self.ledger.totals(done.number).reindex(done.rows.index, fill_value=0)
        rows = done.rows.join(bytes_)
        ranks = rows["rank"].to_numpy()
        rows = rows.assign(**{"ndcg@10": ndcg(ranks, 10), "hr@10": hit_rate(ranks, 10)})
        rows = rows.reset_index(names="device").assign(round=done.number, strategy=self._facts["strategy"])
        rows = _without_decisions(rows)[list(COLUMNS)].astype(COLUMNS)
        self._append("devices.parquet", done.number, rows)
        self._append("ledger.parquet", done.number, self.ledger.table(done.number))
        if done.channels is not None:
            self._append("channels.parquet", done.number, done.channels.assign(round=done.number))
        refreshed = rows.loc[rows["asked"] & rows["drift"].notna(), "device"]
        sums = _sums(rows) | {
            "refreshes": len(refreshed),
            "refresh_bytes": self.ledger.payload(done.number, _PLAN, refreshed),
            "adaptation_bytes": self.ledger.payload(done.number, ADAPTATION),
        }
        self.ledger.forget(done.number)
        gains = _gains(rows, self.devices)
        self._sums.update(sums)
        self._gains += gains
        wall = time.perf_counter() - done.started  # the round's log included
        figures = _figures(sums, gains, done.plan_difference)
        self.virtual_seconds = done.virtual_end
        clock = {"virtual_start": done.virtual_start, "virtual_seconds": done.virtual_end}
        speed = {"wall_seconds": wall, "devices_per_second": len(rows) / wall}
        self._rounds.append({"round": done.number, **self._facts, "devices": self.devices, **figures, **clock, **speed})
        self.summary = self._summarise()
        self._write_figures()
        for listener in self.listeners:
            listener(self._rounds[-1])

    def _summarise(self) -> dict[str, Any]:
        wall = time.perf_counter() - self._started
        rounds = pd.DataFrame(self._rounds)
        busy = float(rounds["wall_seconds"].sum())
        return {
            **self._facts,
            "devices": self.devices,
            "rounds": len(self._rounds),
            **_figures(self._sums, self._gains, float(rounds["plan_difference"].mean())),
            "virtual_seconds": self.virtual_seconds,
            "wall_seconds": wall,
            "startup_seconds": self.startup_seconds,
            "devices_per_second": self.devices * len(self._rounds) / busy if busy else 0.0,
        }

    def _append(self, name: str, number: int, rows: pd.DataFrame) -> None:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        _atomically(folder / f"part-{number:07}.parquet", lambda path: rows.to_parquet(path, index=False))

    def _write_figures(self) -> None:
        _atomically(self.folder / "rounds.csv", lambda path: pd.DataFrame(self._rounds).to_csv(path, index=False))
        text = json.dumps(_without_nan(self.summary), indent=2) + "\n"
        _atomically(self.folder / "summary.json", lambda path: path.write_text(text))


def missing_rows(devices: NDArray[np.int64], reason: str) -> pd.DataFrame:
    """Rows of devices that have no result, with the reason."""
    blank = {name: "" if kind is str else kind(0) for name, kind in COLUMNS.items() if name not in ("device", "round")}
    kept = {"status": word(Status.FAILED), "drift": np.nan, "error": reason}
    return pd.DataFrame({**blank, **kept}, index=pd.Index(devices, name="device"))


def _without_decisions(rows: pd.DataFrame) -> pd.DataFrame:
    """With the columns of a strategy that makes no plans: nobody asks for one."""
    return rows if "asked" in rows else rows.assign(asked=False, drift=np.nan)


def _sums(rows: pd.DataFrame) -> dict[str, float]:
    """What adds up over rounds: sums over the rows of a round, and how many rows they are of."""
    ranked = rows[rows["status"] == word(Status.OK)]
    tried = ranked[ranked["rank_stranger"] > 0]
    statuses = rows["status"].value_counts()
    return {
        "ranked": len(ranked),
        **sums_of_metrics(ranked["rank"].to_numpy()),
        "tried": len(tried),
        **{f"{name}_stranger": total for name, total in sums_of_metrics(tried["rank_stranger"].to_numpy()).items()},
        **{name: float(ranked[name].sum()) for name in ("average_bits", "adaptation_seconds", "virtual_seconds")},
        **{name: int(rows[name].sum()) for name in ("uplink_bytes", "downlink_bytes", "envelope_bytes", "asked")},
        "joules": float(rows["joules"].sum()),
        **{word(status): int(statuses.get(word(status), 0)) for status in Status},
        "over_memory_budget": int((ranked["memory_bytes"] > ranked["memory_budget_bytes"]).sum()),
        "drift": float(rows["drift"].sum()),
        "compared": int(rows["drift"].notna().sum()),
    }


def _figures(sums: Mapping[str, float], gains: NDArray[np.float64], plan_difference: float) -> dict[str, Any]:
    """The figures of a round, or of all, from their sums."""
    return {
        **{name: _ratio(sums[name], sums["ranked"]) for name in METRICS},
        **{name: _ratio(sums[name], sums["tried"]) for name in ("ndcg@10_stranger", "hr@10_stranger")},
        **_gain(gains),
        "plan_difference": plan_difference,
        "average_bits": _ratio(sums["average_bits"], sums["ranked"]),
        **{name: sums[name] for name in ("uplink_bytes", "downlink_bytes", "envelope_bytes", "adaptation_bytes")},
        "asked": _ratio(sums["asked"], sum(sums[word(status)] for status in Status if status not in ABSENT)),
        "drift": _ratio(sums["drift"], sums["compared"]),
        **{name: sums[name] for name in ("refreshes", "refresh_bytes")},
        "failures": sums[word(Status.FAILED)],
        **{name: sums[name] for name in (*map(word, EXPECTED), "over_memory_budget")},
        "adaptation_seconds": _ratio(sums["adaptation_seconds"], sums["ranked"]),
        "joules": sums["joules"],
        "virtual_seconds_per_device": _ratio(sums["virtual_seconds"], sums["ranked"]),
    }


def _gains(rows: pd.DataFrame, devices: int) -> NDArray[np.float64]:
    """Own plan minus a stranger's in NDCG@10 by device, and 1 for each device that has both; [2, devices]."""
    both = rows[(rows["status"] == word(Status.OK)) & (rows["rank_stranger"] > 0)]
    gains = np.zeros((2, devices))
    gains[0, both["device"]] = ndcg(both["rank"].to_numpy(), 10) - ndcg(both["rank_stranger"].to_numpy(), 10)
    gains[1, both["device"]] = 1
    return gains


def _gain(gains: NDArray[np.float64]) -> dict[str, float]:
    """The mean of such gains over devices and its standard error, paired over devices."""
    # a device's rounds are not independent of each other: average them first
    counted = gains[1] > 0
    means = gains[0, counted] / gains[1, counted]
    if len(means) < 2:
        return {"ndcg@10_gain": float("nan"), "ndcg@10_gain_se": float("nan")}
    return {"ndcg@10_gain": float(means.mean()), "ndcg@10_gain_se": float(means.std(ddof=1) / len(means) ** 0.5)}


def _ratio(total: float, count: float) -> float:
    return total / count if count else float("nan")


def _without_nan(figures: dict[str, Any]) -> dict[str, Any]:
    # JSON has no NaN; what was not measured is null
    return {key: None if isinstance(value, float) and np.isnan(value) else value for key, value in figures.items()}


def _atomically(path: Path, write: Any) -> None:
    partial = path.with_name(f".{path.name}.partial")
    write(partial)
    os.replace(partial, path)
