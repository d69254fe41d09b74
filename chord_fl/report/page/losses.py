"""Who had no result, and why.

section(group) -> Section | None        None where no run has its rows
"""

import pandas as pd

from chord_fl.report.errors import counted
from chord_fl.report.page.charts import Picture, name_rows, panel, percent, stack
from chord_fl.report.page.document import Section, table
from chord_fl.report.page.groups import Group, Series
from chord_fl.report.page.palette import STATUSES
from chord_fl.status import UNASKED, Status, word

_MOST_ERRORS = 12
_LONGEST = 160  # characters of an error


def section(group: Group) -> Section | None:
    """Shares of every status, and the most common errors with their counts."""
    statuses, errors = {}, {}
    for series in group.series:
        rows = _rows(series)
        if rows is not None:
            statuses[series.name] = rows["status"].value_counts()
            errors[series.name] = counted(rows).groupby("kind", sort=False)["rows"].sum()
    if not statuses:
        return None
    counts = pd.DataFrame(statuses).T.fillna(0).astype(int)
    counts = counts[
        [*(name for name in STATUSES if name in counts), *(name for name in counts if name not in STATUSES)]
    ]
    lost = counts.drop(columns=[word(status) for status in (Status.OK, *UNASKED)], errors="ignore")
    if not lost.to_numpy().sum():
        words = "Every device had a result in every round that asked it for one."
        return Section("losses", "Who has no result", (words,))
    lines = [(str(name).replace("_", " "), [f"{count:,}" for count in counts[name]]) for name in counts]
    tables = [table(("devices and rounds", *counts.index), lines)]
    reasons = _reasons(errors)
    if reasons:
        tables.append(
            table(
                ("most common reasons", *counts.index),
                reasons,
                f"Numbers in them are replaced by N; at most {_MOST_ERRORS} reasons are listed.",
            )
        )
    words = (
        "“failed” is what should not have happened. The others are what the population was simulated with: a budget "
        "that does not hold the model, a device that is away, a message that is lost. Reasons are in the devices' own "
        "words."
    )
    return Section("losses", "Who has no result", (words,), tables=tuple(tables), pictures=(_drawn(counts),))


def _rows(series: Series) -> pd.DataFrame | None:
    frames = [run.devices[["round", "device", "status", "error"]] for run in series.runs if run.devices is not None]
    texts = {"status": object, "error": object}  # categories of several runs differ
    return pd.concat([frame.astype(texts) for frame in frames], ignore_index=True) if frames else None


def _reasons(errors: dict[str, pd.Series]) -> list[tuple[str, list[str]]]:
    every = pd.DataFrame(errors).fillna(0).astype(int)
    order = every.sum(axis=1).sort_values(ascending=False, kind="stable").index[:_MOST_ERRORS]
    return [(str(reason)[:_LONGEST], [f"{count:,}" for count in every.loc[reason]]) for reason in order]


def _drawn(counts: pd.DataFrame) -> Picture:
    shares = counts.div(counts.sum(axis=1), axis=0)
    known = [str(name) for name in shares if name in STATUSES and shares[name].max() > 0]
    with panel(rows=len(shares) + 1) as (figure, axes):
        stack(axes, shares[known], STATUSES, lambda name: "has a result" if name == "ok" else name.replace("_", " "))
        name_rows(axes, [str(name) for name in shares.index])
        axes.set_xlim(0, 1)
        axes.set_xlabel("share of devices and rounds")
        percent(axes)
    served = shares["ok"] if "ok" in shares else pd.Series(0.0, index=shares.index)
    words = "; ".join(f"{name} {share:.1%}" for name, share in served.items())
    described = "; ".join(
        f"{name}: " + ", ".join(f"{status} {share:.1%}" for status, share in row.items() if share)
        for name, row in shares.iterrows()
    )
    return Picture("statuses", "What becomes of devices", described, f"With a result: {words}.", figure)
