"""The table of all series, as the terminal prints it, and the sentences that say what stands in it.

results(group) -> Section       what to read first, the table, and every pair of series over the same devices
"""

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from chord_fl.report.lines import LINES, LOSSES, Line
from chord_fl.report.page.document import Cell, Row, Section, Table, table
from chord_fl.report.page.groups import Group, Series
from chord_fl.report.page.runs import Run
from chord_fl.report.paired import control_tests, paired_tests

_ALIKE = 0.95  # shares of devices with a result that differ by less are the same devices to all intents
_ERRORS = 2.0  # standard errors beyond which a difference is told apart from chance, as on the terminal
_MOST_PAIRS = 28  # of eight series; of more only those with the first are listed
_LEVEL = 0.05  # of a pair's p, corrected for all pairs


def share_served(run: Run) -> float:
    """Results over those that there would be if no phone and no message ever failed."""
    return 1 - run.lost(LOSSES) / run.expected if run.expected > 0 else float("nan")


def everybody(run: Run) -> float:
    """NDCG@10 over all devices; those without a result count 0."""
    return run.figure("ndcg@10") * share_served(run)


_OWN: dict[str, Callable[[Run], float]] = {"share_served": share_served, "everybody": everybody}
_SERVED = Line("devices with a result", "share_served", "{:.1%}", 1)
_EVERYBODY = Line("NDCG@10, no result counts 0", "everybody", "{:.4f}", 1, ends_group=True)


def _lines() -> Iterator[Line]:
    """Those of the terminal, and those that tell who is behind them."""
    yield _SERVED
    for line in LINES:
        last = line.key == "hr@10"
        yield replace(line, ends_group=False) if last else line
        if last:
            yield _EVERYBODY


def _figure(key: str) -> Callable[[Run], float]:
    return _OWN.get(key, lambda run: run.figure(key))


def results(group: Group) -> Section:
    """The first section of a group."""
    pairs = paired_tests(rows_of(group), within=()) if len(group.series) > 1 else pd.DataFrame()
    tables = [_table(group)]
    if len(pairs):
        few = pairs if len(pairs) <= _MOST_PAIRS else pairs[pairs["a"] == group.series[0].name]
        tables.append(_pairs(few, len(pairs)))
    return Section(
        *("results", "Results"),
        words=tuple(_findings(group, pairs)),
        warnings=tuple(_warnings(group)),
        tables=tuple(tables),
    )


def rows_of(group: Group) -> pd.DataFrame:
    """Runs whose devices can be read, as `report.paired` wants them: method (the series), seed, folder."""
    rows = [
        {"method": series.name, "seed": seed, "folder": run.folder}
        for series in group.series
        for seed, run in zip(series.seeds, series.runs, strict=True)
        if run.devices is not None
    ]
    return pd.DataFrame(rows, columns=["method", "seed", "folder"])


def controls(group: Group) -> pd.DataFrame:
    """Own plans against strangers', a row per series that has them; see `report.paired.control_tests`."""
    return control_tests(rows_of(group), within=())


def verdict(difference: float, error: float, above: str, below: str) -> str:
    """A difference in words: what it says where it is `above` or `below` chance, and that it is neither."""
    if error != error:
        return "too few devices to tell"
    if abs(difference) <= _ERRORS * error:
        return "not told apart from chance"
    return above if difference > 0 else below


def alike(group: Group) -> bool:
    """Whether all series have results for nearly as many devices, so that their means may be compared."""
    shares = [share_served(run) for run in group.runs]
    return min(shares) >= _ALIKE * max(shares)


def mean(series: Series, figure: Callable[[Run], float]) -> float:
    """A figure, averaged over seeds; NaN where a run lacks it."""
    return float(np.mean([figure(run) for run in series.runs]))


def _table(group: Group) -> Table:
    several, seeds = int(group.first["rounds"]) > 1, max(len(series.runs) for series in group.series)
    same, rows = alike(group), []
    for line in _lines():
        values = np.array([mean(series, _figure(line.key)) for series in group.series])
        if line.if_any and not np.nansum(values):
            continue
        if (line.rounds_only and not several) or (line.single_seed and seeds > 1):
            continue
        cells = [_cell(series, line) for series in group.series]
        marked = _marked(values, line) if same or not line.of_served else np.zeros(len(cells), dtype=bool)
        found = tuple(Cell(text, bool(best)) for text, best in zip(cells, marked, strict=True))
        rows.append(Row(line.head, found, line.ends_group))
    caption = "Bold: the best of a line, whether chance made the difference or not."
    if not same:
        caption += " No accuracy is marked where the devices behind it differ; those that count everybody are."
    if seeds > 1:
        caption += " ± is the standard deviation over seeds."
    return Table(("", *(_head(series) for series in group.series)), tuple(rows), caption)


def _marked(values: NDArray[np.float64], line: Line) -> NDArray[np.bool_]:
    """Where the best of a line stands, [series]; whoever prints the same is as good, and nobody is if all do."""
    printed = np.array([line.form.format(value) if value == value else "" for value in values])
    if not line.better or len(set(printed) - {""}) < 2:
        return np.zeros(len(values), dtype=bool)
    return np.asarray(printed == printed[np.nanargmax(line.better * values)])


def _head(series: Series) -> str:
    return series.name if len(series.runs) == 1 else f"{series.name}, {len(series.runs)} seeds"


def _cell(series: Series, line: Line) -> str:
    values = np.array([_figure(line.key)(run) for run in series.runs])
    if not np.isfinite(values).all():
        return "-"
    text = line.form.format(values.mean())
    spread = values.std(ddof=1) if len(values) > 1 else 0.0
    form = line.form.replace("+", "").replace(".3g", ".2g")
    return f"{text} ± {form.format(spread)}" if spread > 0 else text


def _pairs(pairs: pd.DataFrame, every: int) -> Table:
    lines = [
        (
            f"{pair['a']} against {pair['b']}",
            (
                _winner(pair),
                *(f"{pair['difference']:+.4f}", f"{pair['se']:.4f}", _p(pair["p_holm"]), f"{pair['users']:,}"),
                f"{pair['seeds_agreeing']} of {pair['seeds']}",
            )
            if pair["users"]
            else ("no device has a result under both", "-", "-", "-", "0", "-"),
        )
        for pair in pairs.to_dict("records")
    ]
    heads = ("", "over the same devices", "NDCG@10", "standard error", "p (Holm)", "devices", "seeds that agree")
    caption = (
        "Each pair over the devices that have a result under both, the first minus the second. p is of a sign-flip "
        f"test, corrected for {_all(every)}; a p of {_LEVEL} or more is not told apart from chance."
    )
    return table(heads, lines, caption, words=1)


def _all(pairs: int) -> str:
    return "this one pair" if pairs == 1 else f"all {pairs} pairs of columns"


def _winner(pair: Mapping[Hashable, Any]) -> str:
    """The better of a pair in words, or that chance may have made the difference."""
    if not pair["p_holm"] < _LEVEL:
        return "not told apart from chance"
    return f"{pair['a'] if pair['difference'] > 0 else pair['b']} is better"


def _p(value: float) -> str:
    return "-" if value != value else "<0.0001" if value < 0.0001 else f"{value:.4f}"


def _findings(group: Group, pairs: pd.DataFrame) -> list[str]:
    """What to take away, in sentences that the tables bear out."""
    found = []
    names = [series.name for series in group.series]
    same = alike(group)
    figure = _figure("ndcg@10") if same else everybody
    accuracy = pd.Series([mean(series, figure) for series in group.series], index=names).dropna()
    if len(accuracy) > 1:
        first, second = accuracy.sort_values(ascending=False, kind="stable").index[:2]
        what = "Highest NDCG@10" if same else "Highest NDCG@10, where devices without a result count 0"
        best, next_ = (f"{accuracy[name]:.4f}" for name in (first, second))
        tie = f"{first} and {second}, both {best}"
        text = f"{what}: {tie if best == next_ else f'{first} with {best}, before {second} with {next_}'}"
        text += "" if len({series.seeds for series in group.series}) == 1 else ", each over its own seeds"
        found.append(f"{text}{_between(pairs, str(first), str(second)) if same else ''}.")
    elif len(accuracy) == 1:
        found.append(f"NDCG@10 of {names[0]} is {accuracy.iloc[0]:.4f}.")
    for test in controls(group).to_dict("records"):
        words = verdict(test["difference"], test["se"], "plans are personal", "strangers' plans rank better")
        found.append(
            f"Own plan against a stranger's, {test['method']}: {test['difference']:+.4f} ± {test['se']:.4f} NDCG@10 "
            f"over {test['users']:,} devices: {words}."
        )
    sent = pd.Series([mean(series, _figure("adaptation_bytes_per_device")) for series in group.series], index=names)
    sent = sent[sent > 0].sort_values(kind="stable")
    if len(sent) > 1 and sent.iloc[-1] > 1.1 * sent.iloc[0]:  # less is no difference to speak of
        least, most = sent.index[0], sent.index[-1]
        found.append(
            f"What adapts a device takes {sent[least]:,.0f} bytes under {least} and {sent[most]:,.0f} under {most}, "
            f"{_times(sent[most] / sent[least])} as much."
        )
    return found


def _times(ratio: float) -> str:
    return f"{ratio:,.0f} times" if ratio >= 10 else f"{ratio:.2g} times"


def _between(pairs: pd.DataFrame, first: str, second: str) -> str:
    for pair in pairs.to_dict("records"):
        if {pair["a"], pair["b"]} == {first, second} and pair["users"]:
            return f" (paired: {abs(pair['difference']):.4f} ± {pair['se']:.4f}, {_winner(pair)})"
    return ""


def _warnings(group: Group) -> list[str]:
    found = []
    if not alike(group):
        shares = "; ".join(f"{series.name} {mean(series, share_served):.1%}" for series in group.series)
        found.append(
            f"Not the same devices: accuracy is over those with a result, and their share differs ({shares}). Read "
            "“over the same devices” and “no result counts 0”, or run all on every device with --no-constrain."
        )
    seeds = {series.seeds for series in group.series}
    if len(seeds) > 1:
        every = "; ".join(f"{series.name}: {', '.join(map(str, series.seeds))}" for series in group.series)
        found.append(f"Not the same seeds: {every}. Pairs are compared over the seeds that both have.")
    return found + [f"{run.folder.name}: {'; '.join(run.gaps)}." for run in group.runs if run.gaps]
