"""The table of runs, as the terminal and the page print it: its lines, and the figure of a summary behind each."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chord_fl.status import EXPECTED, word

LOSSES = tuple(map(word, EXPECTED))  # keys of a summary
_TOTALS = ("uplink_bytes", "downlink_bytes", "adaptation_bytes", "joules")


@dataclass(frozen=True)
class Line:
    """A line of the table: what it is called, the key of its figure (see `figure`), and how that is printed."""

    head: str
    key: str
    form: str
    better: int = 0  # 1: the highest is best, -1: the lowest
    of_served: bool = False  # a mean over devices with a result: comparable only where those are the same
    ends_group: bool = False
    rounds_only: bool = False  # in a single round everybody asks
    single_seed: bool = False  # a standard error of one run
    if_any: bool = False  # what nobody did, or happened to nobody, needs no line
    detail: bool = False  # of the line above


LINES = (
    Line("NDCG@5", "ndcg@5", "{:.4f}", 1, of_served=True),
    Line("HR@5", "hr@5", "{:.4f}", 1, of_served=True),
    Line("NDCG@10", "ndcg@10", "{:.4f}", 1, of_served=True),
    Line("HR@10", "hr@10", "{:.4f}", 1, of_served=True, ends_group=True),
    Line("NDCG@10, stranger's plan", "ndcg@10_stranger", "{:.4f}"),
    Line("HR@10, stranger's plan", "hr@10_stranger", "{:.4f}"),
    Line("NDCG@10, own - stranger's", "ndcg@10_gain", "{:+.4f}"),
    Line("standard error, paired", "ndcg@10_gain_se", "{:.4f}", single_seed=True, detail=True),
    Line("channels that differ", "plan_difference", "{:.1%}", ends_group=True),
    Line("average bits", "average_bits", "{:.3f}"),
    Line("Param as in paper, Mbit", "param_mbit", "{:.4f}", -1, ends_group=True),
    Line("bytes up per device", "uplink_bytes_per_device", "{:,.0f}"),
    Line("bytes down per device", "downlink_bytes_per_device", "{:,.0f}", -1),
    Line("profile, plan, weights", "adaptation_bytes_per_device", "{:,.0f}", -1),
    Line("rounds asking for a plan", "asked", "{:.1%}", rounds_only=True, if_any=True),
    Line("drift since plan was made", "drift", "{:.4f}", rounds_only=True, if_any=True),
    Line("adaptation, ms", "adaptation_ms", "{:.2f}", ends_group=True),
    Line("modelled seconds per device", "virtual_seconds_per_device", "{:.3g}"),
    Line("joules per device", "joules_per_device", "{:.3g}", ends_group=True),
    Line("over memory budget", "over_memory_budget", "{:,.0f}"),
    *(Line(name.replace("_", " "), name, "{:,.0f}", if_any=True, detail=True) for name in LOSSES),
    Line("failures", "failures", "{:,.0f}", ends_group=True),
)


def figure(summary: Mapping[str, Any], key: str) -> float:
    """A figure of a run; NaN where its summary has none, or no number.

    `key` is one of the summary's or, made from those, TOTAL_per_device (bytes and joules over all rounds) or
    adaptation_ms. Average bits are NaN where a strategy counts and has no weights.
    """
    value = summary.get(key)
    if key == "average_bits":
        value = value or None
    elif key == "adaptation_ms":
        return 1000 * figure(summary, "adaptation_seconds")
    elif key.removesuffix("_per_device") in _TOTALS and key not in _TOTALS:
        return figure(summary, key.removesuffix("_per_device")) / max(int(summary["devices"]), 1)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else float("nan")


def with_figures(summary: Mapping[str, Any]) -> dict[str, Any]:
    """A summary and what the table makes of it: a row of compare.csv."""
    made = (*(f"{name}_per_device" for name in _TOTALS), "average_bits", "adaptation_ms")
    return {**summary, **{key: figure(summary, key) for key in made}}
