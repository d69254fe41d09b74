"""How results are distributed over devices: by their memory, by the history of their users, and the bits they use.

section(group) -> Section | None        None where no run says what its devices are
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from chord_fl.report.page.charts import Picture, classes, few_ticks, panel, percent, plain
from chord_fl.report.page.document import Section
from chord_fl.report.page.groups import Group, Series
from chord_fl.report.page.palette import Style
from chord_fl.status import UNASKED, word

Frames = Mapping[str, pd.DataFrame]  # by the name of a series
Looks = Mapping[str, Style]

_NORMAL_95 = 1.96
_FEWEST = 20  # results of a class below which a mean of so rare an event as a hit says nothing
_MOST_CLASSES = 9  # more values than that are cut into quarters


@dataclass(frozen=True, eq=False)
class Classes:
    """Ranges of a figure: their labels, and the highest value of each."""

    labels: tuple[str, ...]
    highest: NDArray[np.float64]

    def of(self, values: pd.Series) -> pd.Series:
        """The label of each value's class; None where there is no value."""
        place = np.clip(np.searchsorted(self.highest, values), 0, len(self.labels) - 1)
        return pd.Series(np.array(self.labels, dtype=object)[place], index=values.index).where(values.notna(), None)


def section(group: Group) -> Section | None:
    """Shares with a result and accuracy by memory, accuracy by history, and average bits."""
    found = {series.name: _devices(series) for series in group.series}
    known = {name: frame for name, frame in found.items() if len(frame)}
    if not known:
        return None
    looks = {series.name: series.style for series in group.series}
    pictures = (*_by_memory(known, looks), *_by_history(known, looks), *_bits(known, looks))
    words = "A device's rounds are averaged first. Intervals are 95 % over the devices of a class."
    return Section("devices", "Distribution over devices", (words,), pictures=pictures)


def _devices(series: Series) -> pd.DataFrame:
    """A row per seed and device: served (share of its rounds), ndcg@10, average_bits, and what it is; may be empty."""
    parts = []
    for run in series.runs:
        if run.devices is None or run.phones is None:
            continue
        rows = run.devices[~run.devices["status"].isin([word(status) for status in UNASKED])]
        good = rows[rows["status"] == "ok"]
        means = good.groupby("device")[[name for name in ("ndcg@10", "average_bits") if name in good]].mean()
        asked = rows.groupby("device").size()
        served = (good.groupby("device").size().reindex(asked.index, fill_value=0) / asked).rename("served")
        parts.append(run.phones.set_index("device").join(served, how="inner").join(means))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _memory(frames: Sequence[pd.DataFrame]) -> tuple[str, str]:
    """The column that tells devices apart by their memory, and its name; empty where none does."""
    for column, name in (("ram_gb", "RAM of the device, GB"), ("memory_bytes", "memory of the device, bytes")):
        if any(frame[column].notna().any() for frame in frames):
            return column, name
    return "", ""


def _classes(values: pd.Series) -> Classes:
    """A class per value where there are few, else the four quarters."""
    known = values.dropna().to_numpy(dtype=np.float64)
    unique = np.unique(known)
    if len(unique) <= _MOST_CLASSES:
        return Classes(tuple(_number(value) for value in unique), unique)
    highest = np.unique(np.quantile(known, (0.25, 0.5, 0.75, 1.0), method="higher"))
    lowest = [known.min(), *(known[known > edge].min() for edge in highest[:-1])]
    pairs = zip(lowest, highest, strict=True)
    return Classes(tuple(f"{_number(low)}-{_number(high)}" for low, high in pairs), highest)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:g}"


def _means(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    groups = frame.groupby("place")[column]
    found = pd.DataFrame({"value": groups.mean(), "count": groups.count(), "se": groups.sem()})
    width = _NORMAL_95 * found["se"]
    found = found.assign(low=found["value"] - width, high=found["value"] + width)
    return found[found["count"] >= _FEWEST]


def _shares(frame: pd.DataFrame) -> pd.DataFrame:
    groups = frame.groupby("place")["served"]
    found = pd.DataFrame({"value": groups.mean(), "count": groups.count()})
    return found.assign(low=found["value"], high=found["value"])[found["count"] > 0]


def _described(found: Frames, order: Sequence[str]) -> str:
    """The figures in words, for those who do not see the picture."""
    return "; ".join(
        f"{name}: " + ", ".join(f"{place}: {frame['value'][place]:.3g}" for place in order if place in frame.index)
        for name, frame in found.items()
    )


def _ends(found: Frames, order: Sequence[str], form: str) -> str:
    """The first and the last class of each series in words."""
    parts = []
    for name, frame in found.items():
        values = frame["value"].reindex(list(order)).dropna()
        if len(values):
            first, last = form.format(values.iloc[0]), form.format(values.iloc[-1])
            parts.append(f"{name} {first} at {values.index[0]}, {last} at {values.index[-1]}")
    return "; ".join(parts)


def _by_memory(known: Frames, looks: Looks) -> list[Picture]:
    column, name = _memory(list(known.values()))
    if not column:
        return []
    every = _classes(pd.concat([frame[column] for frame in known.values()]))
    binned = {series: frame.assign(place=every.of(frame[column])) for series, frame in known.items()}
    shares = {series: _shares(frame) for series, frame in binned.items()}
    pictures = []
    if any((frame["value"] < 1).any() for frame in shares.values()):  # that everybody is served needs no picture
        with panel(height=3.3) as (figure, axes):
            classes(axes, shares, looks, every.labels)
            axes.set_xlabel(name)
            axes.set_ylabel("devices with a result")
            axes.set_ylim(-0.04, 1.06)
            percent(axes, "y")
        reading = f"By {name}: {_ends(shares, every.labels, '{:.0%}')}."
        words = _described(shares, every.labels)
        pictures.append(Picture("memory_served", "Who is served, by memory", words, reading, figure))
    return pictures + _accuracy(binned, looks, every.labels, "memory", name)


def _by_history(known: Frames, looks: Looks) -> list[Picture]:
    every = _classes(pd.concat([frame["history"] for frame in known.values()]))
    binned = {series: frame.assign(place=every.of(frame["history"])) for series, frame in known.items()}
    quarters = "" if len(every.highest) > 4 else ", a quarter of the users each"
    return _accuracy(binned, looks, every.labels, "history", f"items in the user's log{quarters}")


def _accuracy(binned: Frames, looks: Looks, order: Sequence[str], what: str, label: str) -> list[Picture]:
    """NDCG@10 by the class `place` of a device; nothing where there are too few devices for it."""
    values = {name: _means(frame, "ndcg@10") for name, frame in binned.items() if "ndcg@10" in frame}
    if len(order) < 2 or not any(len(frame) for frame in values.values()):
        return []
    with panel(height=3.3) as (figure, axes):
        classes(axes, values, looks, order)
        axes.set_xlabel(label)
        axes.set_ylabel("NDCG@10, devices with a result")
        axes.set_ylim(bottom=0)
    reading = f"By {label}: {_ends(values, order, '{:.4f}')}. Classes of fewer than {_FEWEST} results are left out."
    return [Picture(f"{what}_accuracy", f"Accuracy by {what}", _described(values, order), reading, figure)]


def _bits(known: Frames, looks: Looks) -> list[Picture]:
    """Shares of devices up to so many bits, for series whose devices differ in them."""
    found = {name: frame["average_bits"].dropna() for name, frame in known.items() if "average_bits" in frame}
    found = {name: bits for name, bits in found.items() if bits.nunique() > 1}
    if not found:
        return []
    with panel(height=3.0) as (figure, axes):
        for name, bits in found.items():
            # a line of 200 points, however many devices
            shares = np.linspace(0, 1, 200)
            style = looks[name]
            axes.plot(
                np.quantile(bits, shares),
                shares,
                color=style.colour,
                linestyle=style.dash,
                label=plain(name),
                linewidth=2,
            )
        axes.set_xlabel("average bits per weight that a device uses")
        axes.set_ylabel("share of devices at most there")
        percent(axes, "y")
        few_ticks(axes)
        axes.legend(frameon=False, fontsize=9, loc="upper left")
    words = [
        f"{name}: half of the devices use at most {bits.median():.2f}, from {bits.min():.2f} to {bits.max():.2f}"
        for name, bits in found.items()
    ]
    return [Picture("bits", "Average bits in use", "; ".join(words), f"{'; '.join(words)} bits.", figure)]
