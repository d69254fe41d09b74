"""Run folders as data: which there are, what each holds, and what it lacks.

find(paths) -> list[Path]       the run folders that some paths stand for
read(folder) -> Run             raises ConfigError where there is nothing to report

A folder may have been cut off, damaged or written by another version. What cannot be read is left out, and a sentence
in `Run.gaps` says so; only a run without a summary is no run.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pyarrow.dataset import dataset

from chord_fl.errors import ConfigError
from chord_fl.report.lines import figure
from chord_fl.status import UNASKED, word
from chord_fl.trees import Tree, read_toml

_NEEDED = {"strategy": str, "dataset": str, "seed": int, "devices": int, "rounds": int}  # of a summary
_DEVICES = ("round", "device", "rank", "rank_stranger", "ndcg@10", "status", "error")
_DEVICES_IF_THERE = ("average_bits", "virtual_seconds", "joules")  # in runs of every version so far but the first
_TEXTS = ("status", "error", "layer", "purpose", "direction")
_LEDGER = ("purpose", "direction", "payload_bytes", "envelope_bytes")
_CHANNELS = ("round", "layer", "channel", "bits", "devices", "devices_highest")
_PHONES = ("device", "ram_gb", "memory_bytes", "history")
_NOT_ASKED = tuple(word(status) for status in UNASKED)
_UNREADABLE = (OSError, ValueError, KeyError, TypeError)  # pyarrow's and pandas' own are subclasses


@dataclass(frozen=True, eq=False)
class Run:
    """What a run left. A frame that is missing or damaged is None, and `gaps` says so."""

    folder: Path
    summary: Mapping[str, Any]  # strategy, dataset, seed, devices and rounds are there; the rest may not be
    config: Tree  # of config.toml; empty where it is missing
    text: str  # of config.toml
    rounds: pd.DataFrame | None  # a row per round
    devices: pd.DataFrame | None  # a row per device and round, with the columns _DEVICES at least
    ledger: pd.DataFrame | None  # purpose, direction, messages, payload_bytes, envelope_bytes: sums over the run
    channels: pd.DataFrame | None  # `report.channels`, with `round`; None for strategies without plans
    phones: pd.DataFrame | None  # a row per device
    gaps: tuple[str, ...]

    def figure(self, name: str) -> float:
        """A figure of the summary, or made of some (`report.lines.figure`); NaN where there is none, or no number."""
        return figure(self.summary, name)

    @property
    def expected(self) -> int:
        """Results that there would be if no phone and no message ever failed: all rows but those not asked for one."""
        rows = int(self.summary["devices"]) * int(self.summary["rounds"])
        return rows - int(sum(self._count(name) for name in _NOT_ASKED))

    def lost(self, statuses: Iterable[str]) -> int:
        """Rows without a result: `statuses` are the names of those that a summary counts, besides failures."""
        return int(self._count("failures") + sum(self._count(name) for name in statuses if name not in _NOT_ASKED))

    def _count(self, name: str) -> float:
        value = self.figure(name)
        return value if value == value else 0.0


def find(paths: Sequence[Path]) -> list[Path]:
    """The run folders that `paths` stand for: themselves, or those inside, in the order of a comparison or by name.

    Raises ConfigError, one line, for a path that is no folder or holds no run.
    """
    found: dict[Path, Path] = {}  # resolved -> as given
    for path in paths:
        if not path.is_dir():
            raise ConfigError(f"report {path}: {'a file' if path.exists() else 'no such folder'}; give folders of runs")
        inside = [path] if _is_run(path) else list(_runs_below(path))
        if not inside:
            raise ConfigError(f"report {path}: holds no run; a run has a summary.json and a config.toml")
        found.update({folder.resolve(): folder for folder in inside if folder.resolve() not in found})
    return list(found.values())


def read(folder: Path) -> Run:
    """What `folder` holds. Raises ConfigError, one line, if no round was finished or the summary cannot be read."""
    gaps: list[str] = []

    def attempt(name: str, reader: Callable[[Path], Any], absent: str | None = "is missing") -> Any:
        """What `reader` makes of a file; None and a gap where it cannot. `absent` None: the file need not be there."""
        path = folder / name
        if not path.exists():
            gaps.extend([f"{name} {absent}"] if absent else [])
            return None
        try:
            return reader(path)
        except _UNREADABLE as error:
            gaps.append(f"{name} cannot be read ({_first_line(error)})")
            return None

    summary = _summary(folder / "summary.json")
    text = attempt("config.toml", lambda path: path.read_text(encoding="utf-8"))
    config = attempt("config.toml", read_toml) if text is not None else None
    run = Run(
        folder,
        summary,
        config or {},
        text or "",
        attempt("rounds.csv", _rounds),
        attempt("devices.parquet", lambda path: _frame(path, _DEVICES, _DEVICES_IF_THERE)),
        attempt("ledger.parquet", _ledger),
        attempt("channels.parquet", lambda path: _frame(path, _CHANNELS), _plans_without_channels(summary)),
        attempt("phones.parquet", lambda path: _frame(path, _PHONES)),
        tuple(gaps),
    )
    return _checked(run)


def _is_run(folder: Path) -> bool:
    return (folder / "summary.json").exists() or (folder / "config.toml").exists()


def _runs_below(folder: Path) -> Iterable[Path]:
    """Folders of runs inside, at any depth, in order; what a run holds is not searched."""
    for child in sorted(folder.iterdir(), key=_order(folder)):
        if child.is_dir() and not child.name.startswith("."):
            if _is_run(child):
                yield child
            else:
                yield from _runs_below(child)


def _order(folder: Path) -> Callable[[Path], tuple[int, str]]:
    """Where a comparison has a table, its order; by name otherwise."""
    try:
        labels = [str(label) for label in pd.read_csv(folder / "compare.csv", usecols=["label"])["label"]]
    except _UNREADABLE:
        labels = []
    return lambda run: (labels.index(run.name) if run.name in labels else len(labels), str(run))


def _summary(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise ConfigError(
            f"report {path.parent}: no summary.json: no round is finished, or the run was stopped before one was"
        )
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except _UNREADABLE as error:
        raise ConfigError(f"report {path}: cannot be read ({_first_line(error)})") from error
    if not isinstance(found, dict):
        raise ConfigError(f"report {path}: expected a JSON object, found {type(found).__name__}")
    for key, kind in _NEEDED.items():
        value = found.get(key)
        if not isinstance(value, kind) or (isinstance(value, int) and (isinstance(value, bool) or value < 0)):
            raise ConfigError(f"report {path}: {key} = {value!r}: expected {'a text' if kind is str else 'a count'}")
    return found


def _checked(run: Run) -> Run:
    """Refuse a run without rounds; note where it stopped before its last, or its files disagree."""
    gaps, done = list(run.gaps), int(run.summary["rounds"])
    if done < 1 or run.summary["devices"] < 1:
        raise ConfigError(f"report {run.folder}: no round was finished")
    simulation, life = run.config.get("simulation"), run.config.get("life")
    asked = [
        section.get(key) for section, key in ((simulation, "rounds"), (life, "sessions")) if isinstance(section, dict)
    ]
    wanted = max((int(value) for value in asked if isinstance(value, int)), default=done)
    if done < wanted:
        gaps.append(f"stopped after {done:,} of {wanted:,} rounds")
    rows = int(run.summary["devices"]) * done
    if run.devices is not None and len(run.devices) != rows:
        gaps.append(f"devices.parquet has {len(run.devices):,} rows, where the summary counts {rows:,}")
    return Run(**{**vars(run), "gaps": tuple(gaps)})


def _plans_without_channels(summary: Mapping[str, Any]) -> str | None:
    """What to say where there is no table of channels; nothing where there were no plans."""
    return "is missing: written by an earlier version" if summary.get("plan_difference") is not None else None


def _frame(path: Path, columns: Sequence[str], if_there: Sequence[str] = ()) -> pd.DataFrame:
    """Those columns of a Parquet file, or of a folder of its parts. Texts are categories: large runs repeat them."""
    parts = dataset(path, format="parquet")
    lacking = [name for name in columns if name not in parts.schema.names]
    if lacking:
        raise ValueError(f"no column {lacking[0]}")
    known = [*columns, *(name for name in if_there if name in parts.schema.names)]
    words = [name for name in known if name in _TEXTS]
    frame: pd.DataFrame = parts.to_table(columns=known).to_pandas(categories=words)
    numbers = [name for name in known if name not in words]
    return frame[words].join(frame[numbers].apply(pd.to_numeric))


def _rounds(path: Path) -> pd.DataFrame:
    frame = pd.read_csv(path)
    if "round" not in frame or not len(frame):
        raise ValueError("no column round, or no rows")
    return frame


def _ledger(path: Path) -> pd.DataFrame:
    rows = _frame(path, _LEDGER).assign(messages=1)
    return rows.groupby(["purpose", "direction"], as_index=False, sort=False, observed=True).sum()


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
