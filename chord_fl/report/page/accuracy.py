"""How good the recommendations are, what that costs in bytes, and whether plans are personal.

accuracy(group) -> Section
control(group) -> Section | None        None where no strategy makes plans
"""

import pandas as pd

from chord_fl.report.drawing import in_bytes
from chord_fl.report.page.charts import (
    Picture,
    Point,
    bytes_below,
    dots,
    few_ticks,
    legend_above,
    name_rows,
    panel,
    plain,
)
from chord_fl.report.page.document import Section, table
from chord_fl.report.page.groups import Group
from chord_fl.report.page.palette import FAINT
from chord_fl.report.page.summary import alike, controls, everybody, mean, rows_of, verdict
from chord_fl.report.paired import user_intervals

_NORMAL_95 = 1.96


def accuracy(group: Group) -> Section:
    """NDCG@10 of every series, and against the bytes that adapt a device."""
    intervals = user_intervals(rows_of(group), by=["method"]).set_index("method")
    pictures = [_intervals(group, intervals), _against_bytes(group)]
    words = (
        "Intervals are 95 % over devices, each device's rounds and seeds averaged first. They do not say what another "
        "training would bring."
    )
    return Section("accuracy", "Accuracy and bytes", (words,), pictures=tuple(pictures))


def control(group: Group) -> Section | None:
    """Every device also tries the plan of another one. What its own adds is what is personal about it."""
    tests = controls(group)
    if tests.empty:
        return None
    looks = {series.name: series.style for series in group.series}
    reach = _NORMAL_95 * tests["se"]
    points = [
        Point(value, value - width, value + width)
        for value, width in zip(tests["difference"], reach.fillna(0.0), strict=True)
    ]
    with panel(rows=len(tests)) as (figure, axes):
        axes.axvline(0, color=FAINT, linewidth=1, linestyle="--")
        dots(axes, points, [looks[str(name)] for name in tests["method"]])
        name_rows(axes, [str(name) for name in tests["method"]])
        axes.set_xlabel("NDCG@10, own plan minus a stranger's")
        few_ticks(axes)
    rows, sentences = [], []
    for test in tests.to_dict("records"):
        words = verdict(test["difference"], test["se"], "plans are personal", "strangers' plans rank better")
        rows.append(
            (
                str(test["method"]),
                (
                    *(words, f"{test['own']:.4f}", f"{test['stranger']:.4f}"),
                    *(f"{test['difference']:+.4f}", f"{test['se']:.4f}", f"{test['users']:,}"),
                    f"{test['seeds_agreeing']} of {test['seeds']}",
                ),
            )
        )
        sentences.append(f"{test['method']}: {words}")
    heads = ("", "verdict", "own", "stranger's", "difference", "standard error", "devices", "seeds that agree")
    picture = Picture(
        "control",
        "Own plan minus a stranger's",
        "NDCG@10 with the own plan minus NDCG@10 with another device's, paired over devices, 95 % intervals.",
        f"An interval that spans zero is not told apart from chance. {'; '.join(sentences)}.",
        figure,
    )
    words = (
        "Each device also ranks with the plan of another device. If that is as good as its own, plans are not "
        "personal, however much they differ. NDCG@10, paired over devices, each device's rounds and seeds averaged "
        "first; a difference beyond two standard errors is told apart from chance."
    )
    return Section(
        "control", "Own plan against a stranger's", (words,), tables=(table(heads, rows, words=1),), pictures=(picture,)
    )


def _intervals(group: Group, intervals: pd.DataFrame) -> Picture:
    points = []
    for series in group.series:
        value = mean(series, lambda run: run.figure("ndcg@10"))
        width = _NORMAL_95 * float(intervals["se"].get(series.name, float("nan")))
        points.append(Point(value, value - width, value + width))
    known = {series.name: point.value for series, point in zip(group.series, points, strict=True)}
    strangers = [mean(series, lambda run: run.figure("ndcg@10_stranger")) for series in group.series]
    rows = [row for row, value in enumerate(strangers) if value == value]
    with panel(rows=len(points) + bool(rows)) as (figure, axes):
        dots(axes, points, [series.style for series in group.series])
        if rows:
            axes.plot([strangers[row] for row in rows], rows, "x", color=FAINT, markersize=7, label="stranger's plan")
            legend_above(axes)
        name_rows(axes, [series.name for series in group.series])
        axes.set_xlim(left=0)
        axes.set_xlabel("NDCG@10, devices with a result")
    best = max(known, key=lambda name: known[name] if known[name] == known[name] else -1.0)
    reading = f"The highest is {best}, {known[best]:.4f}. Where intervals overlap, read the table of pairs."
    if not alike(group):
        reading = "Each dot is over its own devices, those with a result; they are not the same, so do not rank by it."
    return Picture(
        "accuracy",
        "NDCG@10 with its interval",
        "; ".join(f"{name} {value:.4f}" for name, value in known.items()),
        reading,
        figure,
    )


def _against_bytes(group: Group) -> Picture:
    sent = [mean(series, lambda run: run.figure("adaptation_bytes_per_device")) for series in group.series]
    same = alike(group)
    values = [mean(series, (lambda run: run.figure("ndcg@10")) if same else everybody) for series in group.series]
    least = min((count for count in sent if count > 0), default=1.0)
    places = [count if count > 0 else least / 10 for count in sent]  # a logarithmic axis has no 0
    with panel(height=3.4) as (figure, axes):
        axes.set_xscale("log")
        for series, place, value in zip(group.series, places, values, strict=True):
            axes.plot(
                place, value, series.style.mark, color=series.style.colour, markersize=8, label=plain(series.name)
            )
        if max(places) <= 30 * min(places):  # less than two powers of ten would leave hardly a tick
            axes.set_xlim(min(places) / 10, max(places) * 10)
        else:
            axes.set_xlim(min(places) / 3, max(places) * 3)
        bytes_below(axes)
        axes.margins(y=0.2)
        axes.set_xlabel("profile, plan and weights per device (logarithmic)")
        axes.set_ylabel("NDCG@10" if same else "NDCG@10, no result counts 0")
        legend_above(axes)
    described = [
        f"{series.name}: {in_bytes(round(count))}, {value:.4f}"
        for series, count, value in zip(group.series, sent, values, strict=True)
    ]
    nothing = " Series that send nothing stand at the left edge." if any(count == 0 for count in sent) else ""
    return Picture(
        "bytes",
        "NDCG@10 against bytes",
        "; ".join(described),
        "Up and to the left is better: more accuracy for fewer bytes. What every device downloads once whatever the "
        f"method (embeddings, biases) is not counted here.{nothing}",
        figure,
    )
