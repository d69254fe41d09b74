"""The kinds of drawings on the page. Every figure has one panel, narrow enough to be read on a phone.

Names are texts of a run: they are drawn as they are, never as mathematics.
"""

import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from chord_fl.report.drawing import STYLE, apart, in_bytes
from chord_fl.report.page.palette import FAINT, GRID, INK, Style

_WIDTH = 5.0  # inches
_ROW = 0.34  # of a name on the left
_STYLE: Any = {
    **STYLE,
    **{"font.size": 10, "axes.labelsize": 10, "xtick.labelsize": 9.5, "ytick.labelsize": 9.5, "grid.color": GRID},
    **{"text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": FAINT, "svg.fonttype": "none"},
    **{"xtick.color": FAINT, "xtick.labelcolor": INK, "ytick.color": FAINT, "ytick.labelcolor": INK},
}
_BAR_HEIGHT = 0.62


@dataclass(frozen=True, eq=False)
class Picture:
    """A figure with its words: `name` (of its files, too), title, what it shows, and what is to be read off it."""

    name: str
    title: str
    description: str
    reading: str
    figure: Figure


@dataclass(frozen=True)
class Point:
    """A mean with its interval."""

    value: float
    low: float
    high: float


@contextmanager
def panel(rows: int | None = None, height: float = 3.1) -> Iterator[tuple[Figure, Axes]]:
    """A figure and its only panel; as high as `rows` names need, or `height` inches."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH, height if rows is None else 0.75 + _ROW * rows), layout="constrained")
        yield figure, figure.subplots()
        # laid out once for all formats: saving would do it anew, and draw everything twice for it
        layout = figure.get_layout_engine()
        if layout is not None:
            layout.execute(figure)
        figure.set_layout_engine(None)


def plain(text: str) -> str:
    """A text that matplotlib draws letter by letter."""
    return text.replace("$", r"\$")


def name_rows(axes: Axes, names: Sequence[str]) -> None:
    """Names on the left, the first on top."""
    axes.set_yticks(range(len(names)), [plain(textwrap.fill(name, 20, max_lines=2, placeholder="…")) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)


def dots(axes: Axes, points: Sequence[Point], looks: Sequence[Style], label: str = "") -> None:
    """A dot with its interval in each row of `name_rows`."""
    for row, (point, look) in enumerate(zip(points, looks, strict=True)):
        if point.value != point.value:
            axes.text(0.01, row, "none", transform=axes.get_yaxis_transform(), va="center", color=FAINT)
            continue
        reach = np.nan_to_num([[point.value - point.low], [point.high - point.value]])
        axes.errorbar(
            *(point.value, row),
            xerr=np.maximum(reach, 0),
            marker=look.mark,
            markersize=6.5,
            color=look.colour,
            linewidth=1.8,
        )


def stack(axes: Axes, shares: pd.DataFrame, colours: Mapping[str, str], words: Callable[[str], str]) -> None:
    """Bars of parts, a row per row of `shares`, and a legend above that names the parts with `words`."""
    left = np.zeros(len(shares))
    for name in shares:
        values = shares[name].to_numpy(dtype=np.float64)
        axes.barh(
            range(len(shares)), values, _BAR_HEIGHT, left=left, color=colours[str(name)], label=plain(words(str(name)))
        )
        left += values
    legend_above(axes)


def lines(axes: Axes, curves: Mapping[str, pd.Series], looks: Mapping[str, Style]) -> None:
    """Lines with their marks, and their names at the right end."""
    for name, curve in curves.items():
        look = looks[name]
        axes.plot(
            curve.index,
            curve.to_numpy(),
            color=look.colour,
            linestyle=look.dash,
            marker=look.mark,
            markersize=4,
            linewidth=1.7,
        )
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)
    ends = [(name, curve.dropna()) for name, curve in curves.items()]
    ends = [(name, curve) for name, curve in ends if len(curve)]
    points = axes.get_window_extent().height * 72 / axes.figure.dpi
    places = apart([(curve.iloc[-1] - low) / (high - low) for _, curve in ends], 24 / points)
    for (name, curve), place in zip(ends, places, strict=True):
        line: Any = {"arrowstyle": "-", "color": looks[name].colour, "linewidth": 0.7, "shrinkA": 0, "shrinkB": 3}
        where: Any = {"textcoords": "axes fraction", "va": "center", "arrowprops": line, "annotation_clip": False}
        short = plain(textwrap.fill(name, 18, max_lines=2, placeholder="…"))
        axes.annotate(short, (curve.index[-1], curve.iloc[-1]), (1.05, place), fontsize=9, **where)


def classes(axes: Axes, curves: Mapping[str, pd.DataFrame], looks: Mapping[str, Style], places: Sequence[str]) -> None:
    """Dots with intervals by class: frames by class with value, low, high; series stand side by side in a class."""
    count = len(curves)
    for index, (name, frame) in enumerate(curves.items()):
        found, look = frame.reindex(list(places)), looks[name]
        shift = (index - (count - 1) / 2) * min(0.16, 0.7 / max(count, 1))
        value = found["value"].to_numpy(dtype=np.float64)
        reach = np.nan_to_num(np.stack([value - found["low"], found["high"] - value]).astype(np.float64))
        style: Any = {"marker": look.mark, "markersize": 5, "color": look.colour, "linestyle": "none", "linewidth": 1.3}
        axes.errorbar(np.arange(len(places)) + shift, value, np.maximum(reach, 0), label=plain(name), **style)
    axes.set_xticks(range(len(places)), [plain(place) for place in places])
    axes.set_xlim(-0.6, len(places) - 0.4)
    axes.grid(visible=False, axis="x")
    legend_above(axes)


def legend_above(axes: Axes) -> None:
    """The legend over the panel, in as many columns as its names allow."""
    handles, names = axes.get_legend_handles_labels()
    longest = max((len(name) for name in names), default=0)
    columns = max(1, min(len(names), 56 // (longest + 6)))
    style: Any = {"ncols": columns, "frameon": False, "fontsize": 9, "handlelength": 1.2}
    axes.figure.legend(handles, names, loc="outside upper center", **style)


def percent(axes: Axes, which: str = "x") -> None:
    """Shares as percentages."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_formatter(PercentFormatter(1.0, decimals=0))


def whole(axes: Axes) -> None:
    """Whole numbers below."""
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def bytes_below(axes: Axes) -> None:
    """Bytes with their units below, on a scale that may be logarithmic."""
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: in_bytes(value)))


def few_ticks(axes: Axes) -> None:
    """Ticks that do not run into each other on a narrow panel."""
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
