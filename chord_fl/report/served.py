"""Time to accuracy: how good the recommendations of a whole population are as virtual time goes by.

curve(folder) -> DataFrame                         one run: seconds, ndcg@10, served
times(runs) -> DataFrame                           a row per run: what it reached, when, and at what cost
figure(curves, folder, note="") -> list[Path]      time.png and time.svg

A device counts with its latest result, from the moment at which it had it, and with 0 before it has any: nobody is left
out of the mean because nobody got there.
"""

from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from chord_fl.report.drawing import COLOURS, OTHER, STYLE, save, write_title

_WHO = ["dataset", "backbone", "method", "budgets", "seed"]
_POINTS = 250  # of a drawn line
_TICKS = {
    0.5: "0.5 s",
    1: "1 s",
    2: "2 s",
    5: "5 s",
    15: "15 s",
    60: "1 min",
    120: "2 min",
    240: "4 min",
    600: "10 min",
}


def curve(folder: Path) -> pd.DataFrame:
    """Of a run: `seconds` of virtual time, and from then on `ndcg@10` and share `served` of all its devices."""
    rows = pd.read_parquet(folder / "devices.parquet")
    starts = pd.read_csv(folder / "rounds.csv").set_index("round")["virtual_start"]
    devices = rows["device"].nunique()
    good = rows[rows["status"] == "ok"]
    good = good.assign(seconds=good["round"].map(starts) + good["virtual_seconds"]).sort_values(
        "seconds", kind="stable"
    )
    before = good.groupby("device")["ndcg@10"].shift()
    found = pd.DataFrame(
        {
            "seconds": good["seconds"],
            "ndcg@10": (good["ndcg@10"] - before.fillna(0.0)).cumsum() / devices,
            "served": before.isna().cumsum() / devices,
        }
    )
    beginning = pd.DataFrame({"seconds": [0.0], "ndcg@10": [0.0], "served": [0.0]})
    return pd.concat([beginning, found], ignore_index=True)


def times(runs: pd.DataFrame) -> pd.DataFrame:
    """A row per run of `runs` (dataset, backbone, method, budgets, seed, folder), NaN for what was never reached.

    ndcg@10 and served at the end, over all devices; the share that had a result in the first round, and seconds until
    90 % had one; the share of late rows; of a round of a served device the modelled seconds and joules; bytes of the
    run per device.
    """
    lines = []
    for run in runs.to_dict("records"):
        folder = Path(run["folder"])
        found, rows = curve(folder), pd.read_parquet(folder / "devices.parquet")
        good, last = rows[rows["status"] == "ok"], found.iloc[-1]
        lines.append(
            {
                **{key: run[key] for key in _WHO},
                **{"ndcg@10": last["ndcg@10"], "served": last["served"]},
                "served_first": float((good["round"] == 1).sum()) / rows["device"].nunique(),
                "seconds_to_90": _first(found, 0.9),
                "share_late": float((rows["status"] == "late").mean()),
                **{"modelled_seconds": good["virtual_seconds"].mean(), "joules_of_a_round": good["joules"].mean()},
                "bytes_per_device": float((rows["uplink_bytes"] + rows["downlink_bytes"]).sum())
                / rows["device"].nunique(),
            }
        )
    return pd.DataFrame(lines)


def _first(found: pd.DataFrame, share: float) -> float:
    """Seconds until so large a share is served."""
    reached = found.loc[found["served"] >= share, "seconds"]
    return float(reached.iloc[0]) if len(reached) else float("nan")


def figure(curves: pd.DataFrame, folder: Path, note: str = "") -> list[Path]:
    """`curves`: dataset, backbone, method, budgets, seed and the columns of `curve`, a row per event."""
    return save(draw(curves, note), folder, "time")


def draw(curves: pd.DataFrame, note: str = "") -> Figure:
    """The picture of `figure`: a panel for budgets off and on, a line per method, the mean and range over seeds."""
    with matplotlib.rc_context(STYLE):
        panels = list(dict.fromkeys(curves["budgets"]))
        picture = Figure(figsize=(5.2 * len(panels), 3.9), layout="constrained")
        write_title(picture, curves, "NDCG@10 of all devices over virtual time", note)
        seconds = curves.loc[curves["seconds"] > 0, "seconds"]
        first, last = (float(seconds.min()), float(seconds.max())) if len(seconds) else (1.0, 2.0)
        grid = np.geomspace(first / 1.2, last * 1.2, _POINTS)
        axes_of = picture.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axes, budgets in zip(axes_of, panels, strict=True):
            unserved = []
            for method, rows in curves[curves["budgets"] == budgets].groupby("method", sort=False):
                if not rows["served"].any():
                    unserved.append(str(method))
                    continue
                lines = np.array([_steps(part, grid) for _, part in rows.groupby("seed")])
                colour = COLOURS.get(str(method), _OTHERS.get(str(method), OTHER))
                axes.fill_between(grid, lines.min(axis=0), lines.max(axis=0), color=colour, alpha=0.15, linewidth=0)
                axes.plot(grid, lines.mean(axis=0), color=colour, linewidth=1.8, label=str(method))
            if unserved:
                axes.text(0.03, 0.92, f"{', '.join(unserved)}: no device has a result", transform=axes.transAxes)
            axes.set_title(_PANELS.get(str(budgets), str(budgets)), loc="left")
            axes.set_xscale("log")
            ticks = {at: name for at, name in _TICKS.items() if grid[0] <= at <= grid[-1]}
            axes.set_xticks(list(ticks), list(ticks.values()))
            axes.minorticks_off()
            axes.set_xlim(grid[0], grid[-1])
            axes.set_xlabel("virtual time since the first request, download included")
        axes_of[0].set_ylim(bottom=0)
        axes_of[0].set_ylabel("NDCG@10, 0 before a first result")
        axes_of[0].legend(frameon=False, loc="upper left")
        return picture


_OTHERS = {"static": "#0072B2", "finetune": "#009E73"}
_PANELS = {"off": "every device runs every method", "on": "budgets bind: memory, processor, battery, link"}


def _steps(
    rows: pd.DataFrame, grid: "np.ndarray[tuple[int], np.dtype[np.float64]]"
) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """A run's curve at the times of `grid`."""
    place = np.searchsorted(rows["seconds"].to_numpy(), grid, side="right") - 1
    return np.asarray(rows["ndcg@10"].to_numpy()[place])
