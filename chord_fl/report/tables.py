"""Finished runs as tables, beside the paper's figures. What is tested over users is in `report.paired`.

summarise(runs, by) -> DataFrame                               mean, s.d. over seeds, number of seeds
beside_paper(summary, paper, on) -> DataFrame                  adds the paper's figures as `<figure>_paper`
write_table(frame, folder, name, title, notes) -> list[Path]   <name>.csv and <name>.md

`runs` has a row per finished run: dataset, backbone, method (strategy or variant), seed; where they apply beta, ladder
("2-4-6-8"), activation_bits, deployment_bits, training_bits; the figures of FIGURES that were measured; and folder (a
Path, read by `report.paired` only).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from chord_fl.metrics import METRICS
from chord_fl.report.labels import heading, proper
from chord_fl.report.paper import method_in_paper

PER_DEVICE = "adaptation_bytes_per_device"
FIGURES = (
    *METRICS,
    *("ndcg@10_stranger", "average_bits", "param_mbit"),
    *("adaptation_bytes", PER_DEVICE, "downlink_bytes", "uplink_bytes", "devices"),
    *("share_asked", "served", "served_first", "seconds_to_90", "share_late"),
    *("modelled_seconds", "joules_of_a_round", "bytes_per_device"),
)
ACCURACY = (*METRICS, "ndcg@10_stranger")
# the columns that tell the lines of a table apart; they are never averaged, and lead each line
KEYS = (
    *("backbone", "dataset", "method", "window", "beta", "ladder", "weight_bits", "activation_bits"),
    *("deployment_bits", "training_bits", "seen", "budgets", "refresh"),
)
# sums over a whole run say little by themselves: the CSV has them, the page does not
_CSV_ONLY = ("adaptation_bytes", "downlink_bytes", "uplink_bytes", "devices", "folder")
_BLOCKS = ("backbone", "dataset")
_FOUR_DECIMALS = (
    *ACCURACY,
    "param_mbit",
    "paper",
    "own",
    "stranger",
    "se",
    "p",
    "p_holm",
    "low",
    "high",
    "served",
    "share_asked",
    "served_first",
    "share_late",
)


def summarise(runs: pd.DataFrame, by: Sequence[str], figures: Sequence[str] = FIGURES) -> pd.DataFrame:
    """A row per combination of the columns `by`, in order of appearance: `by`, x and x_sd for every figure x, seeds.

    The s.d. is that of the seeds (n - 1), NaN for a single one. Where `adaptation_bytes` and `devices` are there, so is
    their quotient (a device's mean per round if there is a column `rounds`). Raises ValueError if a combination holds a
    seed twice: then `by` lacks a column that tells the runs apart, and their mean would be of nothing in particular.
    """
    by = list(by)
    twice = runs.duplicated([*by, "seed"])
    if twice.any():
        which = runs.loc[twice, [*by, "seed"]].iloc[0].to_dict()
        raise ValueError(f"more than one run of {which}: summarise by another column as well, or leave one out")
    if {"adaptation_bytes", "devices"} <= set(runs.columns):
        rounds = runs.get("rounds", 1)
        runs = runs.assign(**{PER_DEVICE: runs["adaptation_bytes"] / (runs["devices"] * rounds)})
    figures = [name for name in figures if name in runs and name not in by]
    groups = runs.astype(dict.fromkeys(figures, np.float64)).groupby(by, sort=False, dropna=False)
    means, deviations = groups[figures].mean(), groups[figures].std(ddof=1)
    columns = {}
    for name in figures:
        columns[name], columns[f"{name}_sd"] = means[name], deviations[name]
    return pd.DataFrame({**columns, "seeds": groups["seed"].nunique()}).reset_index()


def beside_paper(summary: pd.DataFrame, paper: pd.DataFrame, on: Sequence[str]) -> pd.DataFrame:
    """`summary` with a column x_paper for each figure x that both have; NaN where the paper has no such line.

    Lines belong together if the columns `on` are equal; the strategy static is the paper's base. `paper` is a table of
    `report.paper`. Raises ValueError if `on` does not name one line of the paper.
    """
    on = list(on)
    figures = [name for name in paper.columns if name not in on and name not in KEYS and name in summary]
    theirs = paper[[*on, *figures]].rename(columns={name: f"{name}_paper" for name in figures})
    if "method" not in on:
        return summary.merge(theirs, how="left", on=on, validate="many_to_one")
    ours = summary.assign(_method=summary["method"].map(method_in_paper))
    theirs = theirs.rename(columns={"method": "_method"})
    keys = ["_method" if name == "method" else name for name in on]
    return ours.merge(theirs, how="left", on=keys, validate="many_to_one").drop(columns="_method")


def write_table(frame: pd.DataFrame, folder: Path, name: str, title: str, notes: Sequence[str]) -> list[Path]:
    """Write `<name>.csv` (plain figures, six decimals) and `<name>.md` into `folder`, made if need be; return both.

    `frame` is what `summarise`, `beside_paper`, `report.param` or `report.paired` give. In the Markdown x and x_sd are
    one cell "mean ± s.d.", x_paper is the column after it, and there is a block for each backbone and data set, in
    which the best measured accuracy is bold. `notes` (command, commit, time, protocol, seeds) stand beneath.
    Totals of a run (bytes, devices) are in the CSV only.
    """
    folder.mkdir(parents=True, exist_ok=True)
    csv, page = folder / f"{name}.csv", folder / f"{name}.md"
    frame.to_csv(csv, index=False, float_format=_plain)
    page.write_text(_page(frame, title, notes), encoding="utf-8")
    return [csv, page]


def _plain(value: Any) -> str:
    # six decimals of what is large, six digits of what is small (a p may be tiny)
    return f"{round(value, 6):.15g}" if abs(value) >= 1 else f"{value:.6g}"


def _page(frame: pd.DataFrame, title: str, notes: Sequence[str]) -> str:
    parts = [f"# {title}"]
    heads = [name for name in _BLOCKS if name in frame]
    # where the data set alone tells a line from the others (Table 1), a block for each would be a line
    if len(heads) == 2 or any(name in frame for name in KEYS if heads and name not in heads):
        for keys, block in frame.groupby(heads, sort=False):
            parts += [f"## {', '.join(proper(str(key)) for key in keys)}", _grid(block.drop(columns=heads))]
    else:
        parts.append(_grid(frame))
    if notes:
        parts.append("\n".join(f"- {note}" for note in notes))
    return "\n\n".join(parts) + "\n"


def _grid(block: pd.DataFrame) -> str:
    """One Markdown table; figures to the right."""
    block = block.dropna(axis="columns", how="all")
    shown = [name for name in block.columns if not name.endswith(("_sd", "_paper")) and name not in _CSV_ONLY]
    keys = [name for name in KEYS if name in shown]
    columns: list[tuple[str, list[str], bool]] = []
    for name in [*keys, *(name for name in shown if name not in keys)]:
        words = not pd.api.types.is_numeric_dtype(block[name])
        columns.append((heading(name), _cells(block, name), words))
        if f"{name}_paper" in block:
            columns.append(("paper", [_figure(name, value) for value in block[f"{name}_paper"]], False))
    lines = [[title for title, _, _ in columns], ["---" if words else "---:" for _, _, words in columns]]
    lines += [list(line) for line in zip(*(cells for _, cells, _ in columns), strict=True)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cells(block: pd.DataFrame, name: str) -> list[str]:
    if name in KEYS or not pd.api.types.is_numeric_dtype(block[name]):
        return [_key(value) for value in block[name]]
    cells = [_figure(name, value) for value in block[name]]
    # lines of different protocols or seeds compete for nothing
    rivals = name in METRICS and len(block) > 1 and not {"seen", "seed"} & set(block.columns)
    best = _figure(name, block[name].max()) if rivals else None
    if name in ACCURACY and f"{name}_sd" in block:
        spreads = [f" ± {value:.4f}" if np.isfinite(value) else "" for value in block[f"{name}_sd"]]
    else:
        spreads = [""] * len(cells)
    return [
        f"**{cell}**{spread}" if cell == best else f"{cell}{spread}"
        for cell, spread in zip(cells, spreads, strict=True)
    ]


def _key(value: object) -> str:
    return "-" if pd.isna(value) else f"{value:g}" if isinstance(value, float | int) else str(value)  # type: ignore[call-overload]


def _figure(name: str, value: float) -> str:
    if np.isnan(value):
        return "-"
    if name == "difference":
        return f"{value:+.4f}"
    if name in ("p", "p_holm") and value < 0.0001:
        return "<0.0001"
    if name in _FOUR_DECIMALS:
        return f"{value:.4f}"
    if name == "average_bits":
        return f"{value:.2f}"
    return f"{value:,.0f}" if value >= 100 or float(value).is_integer() else f"{value:.3g}"
