"""What plans look like: which layer gets most bits, how they are spread over layers, and over the channels of one.

section(group) -> Section | None        None where no run has plans on record
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from chord_fl.report.drawing import OTHER
from chord_fl.report.page.charts import Picture, panel, percent, plain, stack
from chord_fl.report.page.document import Section
from chord_fl.report.page.groups import Group, Series
from chord_fl.report.page.palette import FAINT, WIDTHS, Style

_MOST_SERIES = 4  # drawn beside each other


def section(group: Group) -> Section | None:
    """The paper's Figure 5, read off the plans that were sent."""
    counted = {series.name: _counts(series) for series in group.series}
    known = dict([(name, frame) for name, frame in counted.items() if len(frame)][:_MOST_SERIES])
    if not known:
        return None
    looks = {series.name: series.style for series in group.series}
    alike = {name: frame for name, frame in known.items() if _layers(frame) == _layers(next(iter(known.values())))}
    pictures = [
        _highest(alike, looks),
        *(_by_layer(name, frame, index) for index, (name, frame) in enumerate(known.items())),
    ]
    pictures.append(_by_channel(alike, looks))
    words = (
        "Plans as the cloud made them, over all rounds, before small or tired devices lower their own. The first and "
        "the last picture are the two halves of the paper's Figure 5."
    )
    return Section("plans", "Plans by layer and channel", (words,), pictures=tuple(pictures))


def _counts(series: Series) -> pd.DataFrame:
    """Layer, channel, bits, devices, devices_highest, summed over rounds and seeds; may be empty."""
    frames = [run.channels for run in series.runs if run.channels is not None]
    if not frames:
        return pd.DataFrame()
    every = pd.concat([frame.astype({"layer": str}) for frame in frames])
    return every.groupby(["layer", "channel", "bits"], as_index=False, sort=False)[["devices", "devices_highest"]].sum()


def _layers(counts: pd.DataFrame) -> list[str]:
    return [str(layer) for layer in dict.fromkeys(counts["layer"])]


def _plans(counts: pd.DataFrame) -> float:
    """How many plans were counted."""
    return float(counts.groupby(["layer", "channel"], sort=False)["devices"].sum().iloc[0])


def _highest(known: Mapping[str, pd.DataFrame], looks: Mapping[str, Style]) -> Picture:
    layers = _layers(next(iter(known.values())))
    height = 0.8 / len(known)
    words = []
    with panel(rows=round(0.62 * len(layers)) + 2) as (figure, axes):
        for index, (name, counts) in enumerate(known.items()):
            share = counts.groupby("layer", sort=False)["devices_highest"].first().reindex(layers) / _plans(counts)
            places = np.arange(len(layers)) + (index + 0.5) * height - 0.4
            look = looks[name]
            axes.barh(places, share, height * 0.9, color=look.colour, label=plain(name), alpha=1 - 0.2 * index)
            top = f"most often {share.idxmax()}, for {share.max():.0%} of the plans"
            words.append(f"{name}: {top if share.max() > 0 else 'no layer has more than all others'}")
        axes.axvline(1 / len(layers), color=FAINT, linestyle="--", linewidth=1)
        _layer_rows(axes, layers)
        axes.set_xlabel("share of plans in which the layer has most bits")
        percent(axes)
        if len(known) > 1:
            axes.legend(frameon=False, fontsize=9)
    return Picture(
        *("plans_highest", "The most critical layer", "; ".join(words)),
        f"{'; '.join(words)}. The dashed line is what equal layers would have.",
        figure,
    )


def _by_layer(name: str, counts: pd.DataFrame, index: int) -> Picture:
    layers = _layers(counts)
    table = counts.pivot_table(index="layer", columns="bits", values="devices", aggfunc="sum", sort=False).reindex(
        layers
    )
    shares = table.div(table.sum(axis=1), axis=0).sort_index(axis=1)
    bits = shares.mul(shares.columns.to_numpy(dtype=float), axis=1).sum(axis=1)
    shares.columns = shares.columns.astype(str)
    colours = {str(width): WIDTHS.get(int(width), OTHER) for width in table.columns}
    with panel(rows=round(0.62 * len(layers)) + 2) as (figure, axes):
        stack(axes, shares, colours, lambda width: f"{width} bits")
        _layer_rows(axes, layers)
        axes.set_xlim(0, 1)
        axes.set_xlabel("share of the layer's channels, over all plans")
        percent(axes)
    high, low = str(bits.idxmax()), str(bits.idxmin())
    reading = f"On average {high} has most bits, {bits[high]:.2f}, and {low} fewest, {bits[low]:.2f}."
    described = "; ".join(f"{layer}: {value:.2f} bits" for layer, value in bits.items())
    return Picture(
        f"plans_layers_{index}" if index else "plans_layers", f"Bits by layer, {name}", described, reading, figure
    )


def _by_channel(known: Mapping[str, pd.DataFrame], looks: Mapping[str, Style]) -> Picture:
    layer = _layers(next(iter(known.values())))[0]
    words, widths = [], set()
    with panel(height=3.2) as (figure, axes):
        for name, counts in known.items():
            table = counts[counts["layer"] == layer].pivot(index="channel", columns="bits", values="devices")
            levels = table.columns.to_numpy(dtype=np.float64)
            shares = table.to_numpy(dtype=np.float64) / table.sum(axis=1).to_numpy(dtype=np.float64)[:, None]
            mean = shares @ levels
            deviation = np.sqrt(np.maximum(shares @ levels**2 - mean**2, 0))
            order = np.argsort(-mean, kind="stable")
            mean, deviation, places = mean[order], deviation[order], np.arange(1, len(mean) + 1)
            low, high = np.maximum(mean - deviation, levels.min()), np.minimum(mean + deviation, levels.max())
            look = looks[name]
            axes.fill_between(places, low, high, color=look.colour, alpha=0.2, linewidth=0)
            axes.plot(places, mean, color=look.colour, linestyle=look.dash, linewidth=2, label=plain(name))
            words.append(f"{name}: from {mean[0]:.2f} to {mean[-1]:.2f} bits, s.d. over plans {deviation.mean():.2f}")
            widths |= set(levels)
        axes.set_ylim(min(widths) - 0.2, max(widths) + 0.2)
        axes.set_xlabel(f"channels of {plain(layer)}, most bits first")
        axes.set_ylabel("bits, mean and s.d. over plans")
        if len(known) > 1:
            axes.legend(frameon=False, fontsize=9)
    reading = (
        f"A wide band: a channel's bits depend on the user. A flat, narrow one: all get the same. {'; '.join(words)}."
    )
    return Picture("plans_channels", f"Bits by channel, {layer}", "; ".join(words), reading, figure)


def _layer_rows(axes: Axes, layers: list[str]) -> None:
    axes.set_yticks(range(len(layers)), [plain(layer) for layer in layers], fontsize=8.5)
    axes.set_ylim(len(layers) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
