"""What it all costs: bytes by purpose, and the modelled seconds and joules of devices.

section(group) -> Section
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.ticker import FuncFormatter

from chord_fl.report.drawing import SERIES, in_bytes
from chord_fl.report.page.charts import Picture, Point, bytes_below, dots, few_ticks, name_rows, panel, stack
from chord_fl.report.page.document import Section, Table, table
from chord_fl.report.page.groups import Group, Series

_MEANING = {
    "provisioning": "the shipment without matrices, once",
    "request": "settings only",
    "candidates": "items to rank",
    "profile": "what a device says of its user",
    "plan": "2 bits per channel",
    "weights": "trained matrices",
    "control": "a stranger's plan; in no total",
}
_COLOURS = {
    **{
        "provisioning": "#BBBBBB",
        "weights": SERIES[1],
        "plan": SERIES[0],
        "profile": SERIES[3],
        "candidates": SERIES[2],
    },
    "request": "#DDDDDD",
}
_MIDDLE = (0.05, 0.5, 0.95)


def section(group: Group) -> Section:
    """A table of bytes by purpose, and pictures of bytes, seconds and joules."""
    bytes_ = {series.name: _ledger(series) for series in group.series}
    known = {name: frame for name, frame in bytes_.items() if len(frame)}
    tables, pictures = [], []
    if known:
        tables.append(_by_purpose(known))
        pictures.append(_drawn(known))
    for column, title, unit in (("virtual_seconds", "Seconds", "s"), ("joules", "Energy", "J")):
        picture = _quantiles(group.series, column, title, unit)
        if picture:
            pictures.append(picture)
    words = (
        "Bytes are payloads per device, over all rounds; what Flower's messages add around them stands apart. Seconds "
        "and joules are modelled for each phone, not measured on this machine."
    )
    return Section("costs", "Bytes, time and energy", (words,), tables=tuple(tables), pictures=tuple(pictures))


def _ledger(series: Series) -> pd.DataFrame:
    """Payload, envelope and messages per device, means over seeds, by (purpose, direction); may be empty."""
    frames = [
        run.ledger.astype({"purpose": str, "direction": str}).set_index(["purpose", "direction"])
        / int(run.summary["devices"])
        for run in series.runs
        if run.ledger is not None
    ]
    return sum(frames[1:], frames[0]) / len(frames) if frames else pd.DataFrame()


def _by_purpose(known: dict[str, pd.DataFrame]) -> Table:
    keys = list(dict.fromkeys(key for frame in known.values() for key in frame.index))
    keys.sort(key=lambda key: [*_MEANING, key[0]].index(key[0]))
    rows = []
    for purpose, direction in keys:
        cells = [_count(frame["payload_bytes"].get((purpose, direction))) for frame in known.values()]
        rows.append((f"{purpose}, {direction}", [_MEANING.get(purpose, ""), *cells]))
    envelopes = [
        f"{frame['envelope_bytes'].drop('control', level=0, errors='ignore').sum():,.0f}" for frame in known.values()
    ]
    rows.append(("envelopes", ["what Flower adds, both ways", *envelopes]))
    return table(("bytes per device", "", *known), rows, words=1)


def _count(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}" if value == 0 or value >= 10 else f"{value:.2g}"


def _drawn(known: dict[str, pd.DataFrame]) -> Picture:
    sums = {
        name: frame["payload_bytes"].groupby(level=0, sort=False).sum().drop("control", errors="ignore")
        for name, frame in known.items()
    }
    parts = pd.DataFrame(sums).T.fillna(0.0)
    parts = parts[[name for name in _COLOURS if name in parts and parts[name].sum() > 0]]
    with panel(rows=len(parts) + 1) as (figure, axes):
        stack(axes, parts, _COLOURS, str)
        name_rows(axes, [str(name) for name in parts.index])
        bytes_below(axes)
        few_ticks(axes)
        axes.set_xlabel("payload per device, all rounds")
    totals = parts.sum(axis=1)
    described = "; ".join(
        f"{name}: " + ", ".join(f"{purpose} {in_bytes(round(value))}" for purpose, value in row.items() if value)
        for name, row in parts.iterrows()
    )
    reading = "; ".join(f"{name} {total:,.0f}" for name, total in totals.items())
    return Picture("purposes", "Bytes by purpose", described, f"Bytes per device in all: {reading}.", figure)


def _quantiles(every: Sequence[Series], column: str, title: str, unit: str) -> Picture | None:
    """The middle 90 % of devices: of a round with a result, as all that a device lost on its way is not of interest."""
    found = {}
    for series in every:
        frames = [run.devices for run in series.runs if run.devices is not None and column in run.devices]
        values = [frame.loc[frame["status"] == "ok", column] for frame in frames]
        if values and sum(map(len, values)):
            found[series.name] = (series.style, np.quantile(pd.concat(values), _MIDDLE))
    if not found:
        return None
    points = [Point(middle, low, high) for _, (low, middle, high) in found.values()]
    with panel(rows=len(points)) as (figure, axes):
        dots(axes, points, [style for style, _ in found.values()])
        name_rows(axes, list(found))
        if max(point.high for point in points) > 30 * min(point.low for point in points) > 0:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        else:
            axes.set_xlim(left=0)
            few_ticks(axes)
        axes.set_xlabel(f"modelled {unit} a round: median, middle 90 %")
    words = "; ".join(
        f"{name} {middle:.3g} {unit} ({low:.3g} to {high:.3g})" for name, (_, (low, middle, high)) in found.items()
    )
    return Picture(column, f"{title} of a device", words, f"Medians of rounds with a result: {words}.", figure)
