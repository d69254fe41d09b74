"""Accuracy by window: own plans, strangers', trained weights, and what other plans bring.

windows(points, folder, note, ceiling) -> list[Path]    one picture, PNG and SVG
by_window(runs) -> DataFrame                            the runs as `report.paired` compares them
"""

from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from chord_fl.report.drawing import STYLE, make_panels, save

_OWN, _STRANGER, _BASE, _GREY = "#D55E00", "#E69F00", "#0072B2", "#555555"
# plans of benchmarks/ceiling.py: what they are called in the picture, and their marks
_PLANS = {
    "common": ("one plan for all, searched", "s"),
    "uniform2": ("2 bits everywhere", "v"),
    "stopped": ("searched per user, stopped in time", "^"),
}

_POOLED = {"3 to 10": (3, 10), "20 to 50": (20, 50)}  # short windows, and those that the paper's settings are among


def by_window(runs: pd.DataFrame) -> pd.DataFrame:
    """`runs` for tests within a window and over several: a column `windows` says which, "3" or "3 to 10".

    `runs` has a row per run with dataset, backbone, method, window, seed; a method whose window is NaN looks at none
    and is there for each of them. Where windows are pooled, `seed` tells seed and window: tests then average a user's
    differences over both.
    """
    blocks = [runs[:0].assign(windows="")]  # where nothing but such a method has run
    for window in sorted(runs["window"].dropna().unique()):
        there = runs[(runs["window"] == window) | runs["window"].isna()]
        blocks.append(there.assign(window=window, windows=f"{window:g}"))
    each = pd.concat(blocks, ignore_index=True)
    for name, (first, last) in _POOLED.items():
        inside = each[each["window"].between(first, last)]
        if inside["window"].nunique() > 1:
            runs_of = [
                f"{seed}, window {window:g}" for seed, window in zip(inside["seed"], inside["window"], strict=True)
            ]
            blocks.append(inside.assign(seed=runs_of, windows=name))
    together: pd.DataFrame = pd.concat(blocks, ignore_index=True)
    return together


def windows(points: pd.DataFrame, folder: Path, note: str = "", ceiling: pd.DataFrame | None = None) -> list[Path]:
    """NDCG@10 by window. `points`: dataset, backbone, method, window, seed, ndcg@10, ndcg@10_stranger, a row per run.

    Methods are chord, static (trained weights) and covisitation, whose window is NaN: a level. Lines are means over
    seeds, bars one s.d. `ceiling`: backbone, window, seed, plan, ndcg@10, as `benchmarks/ceiling.py` writes it.
    """
    return save(draw_windows(points, note, ceiling), folder, "windows")


def draw_windows(points: pd.DataFrame, note: str = "", ceiling: pd.DataFrame | None = None) -> Figure:
    """The picture of `windows`."""
    if ceiling is not None:
        note += f"; grey marks: seed {', '.join(f'{seed}' for seed in sorted(ceiling['seed'].unique()))}"
    with matplotlib.rc_context(STYLE):
        figure, panels = make_panels(points, "Own plan, stranger's plan, trained weights by window", note, (6.6, 3.6))
        for axes, part in panels:
            seen = sorted(part["window"].dropna().unique())
            place = {window: index for index, window in enumerate(seen)}
            chord, static = part[part["method"] == "chord"], part[part["method"] == "static"]
            lines: tuple[tuple[pd.DataFrame, str, str, str, Any], ...] = (
                (chord, "ndcg@10", "own plan", _OWN, {"linewidth": 2.2}),
                (chord, "ndcg@10_stranger", "a stranger's plan", _STRANGER, {"linestyle": "--"}),
                (static, "ndcg@10", "trained weights, 32 bits", _BASE, {}),
            )
            for rows, figure_, label, colour, style in lines:
                groups = rows.groupby("window")[figure_]
                mean, spread = groups.mean(), groups.std(ddof=1).fillna(0)
                where = [place[window] for window in mean.index]
                axes.errorbar(where, mean, spread, color=colour, marker="o", capsize=3, label=label, **style)
            level = part.loc[part["method"] == "covisitation", "ndcg@10"]
            if len(level):
                axes.axhline(level.mean(), color=_GREY, linestyle=":", label="co-visitation, nothing learned")
            if ceiling is not None:
                mine = ceiling[ceiling["backbone"] == part["backbone"].iloc[0]]
                for plan, (label, marker) in _PLANS.items():
                    rows = mine[(mine["plan"] == plan) & mine["window"].isin(seen)]
                    mean = rows.groupby("window")["ndcg@10"].mean()
                    where = [place[window] for window in mean.index]
                    if where:
                        axes.plot(where, mean, linestyle="none", marker=marker, color=_GREY, label=label, alpha=0.8)
            axes.set_xticks(range(len(seen)), [f"{window:g}" for window in seen])
            axes.set_xlabel("window: recent items that the backbone sees")
            axes.set_ylabel("NDCG@10")
            axes.set_ylim(bottom=0)
            axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=8)
        return figure
