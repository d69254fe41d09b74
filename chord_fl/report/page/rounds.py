"""What changes from round to round; with sessions, a round is one.

section(group) -> Section | None        None where there is but one round
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from chord_fl.report.page.charts import Picture, lines, panel, percent, whole
from chord_fl.report.page.document import Section
from chord_fl.report.page.groups import Group, Series
from chord_fl.report.page.palette import Style
from chord_fl.status import EXPECTED, UNASKED, word

_NOT_ASKED = tuple(map(word, UNASKED))
_LOST = ("failures", *(word(status) for status in EXPECTED if status not in UNASKED))


@dataclass(frozen=True)
class _Curve:
    """What is drawn by round: a column of `_rounds`, its words, and how a curve of a series is told in words."""

    name: str
    column: str
    title: str  # before "by round" or "by session"
    label: str
    reading: Callable[[pd.Series], str]
    share: bool = False
    if_below: float = float("inf")  # drawn only where a value is


_CURVES = (
    _Curve(
        *("rounds_accuracy", "ndcg@10", "Accuracy", "NDCG@10, devices with a result"),
        lambda curve: (
            f"{curve.iloc[0]:.4f} in the first, {curve.iloc[-1]:.4f} in the last, {curve.mean():.4f} on average"
        ),
    ),
    _Curve(
        *("rounds_bytes", "kilobytes", "Bytes so far", "kB of profiles, plans, weights"),
        lambda curve: f"{1000 * curve.iloc[-1]:,.0f} bytes per device in the end",
    ),
    _Curve(
        *("rounds_asked", "asked", "Who asks for a plan", "share of those that take part"),
        lambda curve: f"{curve.mean():.0%} of the devices on average",
        *(True, 1.0),
    ),
    _Curve(
        *("rounds_served", "served", "Who has a result", "share of those asked for one"),
        lambda curve: f"{curve.min():.1%} to {curve.max():.1%}",
        *(True, 1.0),
    ),
)


def section(group: Group) -> Section | None:
    """Accuracy, bytes so far, who asked for a plan, and who had a result, by round."""
    frames = {series.name: _rounds(series) for series in group.series}
    known = {name: frame for name, frame in frames.items() if len(frame) > 1}
    if not known:
        return None
    looks = {series.name: series.style for series in group.series}
    what = "session" if (group.first.get("sessions") or 1) > 1 else "round"
    drawn = (_drawn(curve, known, looks, what) for curve in _CURVES)
    words = f"Means over the seeds of a series. Neighbouring {what}s differ by chance as well."
    pictures = tuple(picture for picture in drawn if picture)
    return Section("rounds", f"Over {what}s", (words,), pictures=pictures)


def _drawn(curve: _Curve, known: Mapping[str, pd.DataFrame], looks: Mapping[str, Style], what: str) -> Picture | None:
    columns = {name: frame[curve.column] for name, frame in known.items() if curve.column in frame}
    columns = {name: column for name, column in columns.items() if column.notna().any()}
    if curve.column == "asked":  # a strategy without plans asks for none
        columns = {name: column for name, column in columns.items() if column.any()}
    if not any(column.min() < curve.if_below for column in columns.values()):
        return None
    with panel(height=3.1) as (figure, axes):
        axes.margins(y=0.12)
        if curve.share:
            axes.set_ylim(-0.04, 1.06)
            percent(axes, "y")
        lines(axes, columns, looks)
        axes.set_xlabel(what)
        axes.set_ylabel(curve.label)
        whole(axes)
    words = "; ".join(f"{name}: {curve.reading(column.dropna())}" for name, column in columns.items())
    return Picture(curve.name, f"{curve.title} by {what}", words, f"{words}.", figure)


def _rounds(series: Series) -> pd.DataFrame:
    """Means over seeds by round: ndcg@10, kilobytes (so far, per device), asked, served; may be empty."""
    frames = []
    for run in series.runs:
        if run.rounds is None or "ndcg@10" not in run.rounds:
            continue
        rows, devices = run.rounds.set_index("round"), int(run.summary["devices"])
        found = pd.DataFrame({"ndcg@10": pd.to_numeric(rows["ndcg@10"])})
        if "adaptation_bytes" in rows:
            found["kilobytes"] = pd.to_numeric(rows["adaptation_bytes"]).cumsum() / devices / 1000
        if "asked" in rows:
            found["asked"] = pd.to_numeric(rows["asked"])
        found["served"] = 1 - _count(rows, _LOST) / (devices - _count(rows, _NOT_ASKED))
        frames.append(found)
    return pd.concat(frames).groupby(level=0).mean() if frames else pd.DataFrame()


def _count(rows: pd.DataFrame, statuses: Sequence[str]) -> pd.Series:
    """Devices of these statuses by round; runs of earlier versions lack some."""
    counts: pd.Series = rows[[name for name in statuses if name in rows]].apply(pd.to_numeric).sum(axis=1)
    return counts
