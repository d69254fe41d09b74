"""What the command line shows of results: tables, lines below them, one JSON document."""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from chord_fl.errors import printable
from chord_fl.report.lines import LINES, figure

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def say(text: str) -> None:
    """Print one line to stdout; on a terminal it is wrapped between words, elsewhere it stays one line."""
    out.print(printable(text), markup=False, soft_wrap=not out.is_terminal)


def warn(text: str) -> None:
    """The same on stderr."""
    err.print(printable(text), markup=False, soft_wrap=not err.is_terminal)


def print_json(document: Any) -> None:
    """Print one JSON document, and nothing else, to stdout; what was not measured (NaN) is null."""
    json.dump(_without_nan(document), sys.stdout, indent=2)
    sys.stdout.write("\n")


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_without_nan(each) for each in value]
    return None if isinstance(value, float) and value != value else value


def results_tables(summaries: Sequence[dict[str, Any]], width: int) -> Iterator[Table]:
    """All runs, in as many tables as a terminal of `width` characters needs."""
    rest = list(summaries)
    while rest:
        count, used = 0, _FIRST_COLUMN
        while count < len(rest) and (not count or used + _column(rest[count]) <= width):
            used += _column(rest[count])
            count += 1
        yield results_table(rest[:count])
        rest = rest[count:]


def _column(summary: dict[str, Any]) -> int:
    return max(len(summary.get("label", summary["strategy"])), _WIDEST_CELL) + 3  # and its frame


def results_table(summaries: Sequence[dict[str, Any]]) -> Table:
    """A column per run, a row per figure: it fits a terminal of 80 characters."""
    table = Table()
    table.add_column("")
    for summary in summaries:
        table.add_column(summary.get("label", summary["strategy"]), justify="right")
    several = any(summary.get("rounds", 1) > 1 for summary in summaries)
    for line in LINES:
        values = [figure(summary, line.key) for summary in summaries]
        if (line.if_any and not any(value > 0 for value in values)) or (line.rounds_only and not several):
            continue
        head = f"  {line.head}" if line.detail else line.head
        table.add_row(head, *(_cell(value, line.form) for value in values), end_section=line.ends_group)
    return table


_FIRST_COLUMN, _WIDEST_CELL = 29, 7  # characters


def _cell(value: float, form: str) -> str:
    return "-" if value != value else form.format(value)


def protocol(summary: dict[str, Any]) -> str:
    """The protocol that the figures hold under, in one line."""
    ranked = f"{summary['candidates']} candidates" if summary["candidates"] else "full catalogue"
    sessions = summary["sessions"]
    held_out = "last item held out" if sessions == 1 else f"last {sessions} items held out, a round each"
    return (
        f"{summary['dataset']}, {summary['backbone']}, seed {summary['seed']}, {summary['devices']:,} devices, "
        f"{summary['rounds']} {'round' if summary['rounds'] == 1 else 'rounds'}; {held_out}, {ranked}, seen items "
        f"{'kept' if summary['seen'] == 'keep' else 'excluded'}"
    )


def closing(result: dict[str, Any]) -> Iterator[str]:
    """The lines below the table of a run: how fast, what the control says, what went wrong, where the files are.

    `result` is its summary, with `folder` and `errors`.
    """
    yield f"{result['devices_per_second']:,.0f} devices per second, {result['wall_seconds']:.1f} s in all."
    gain, error = result["ndcg@10_gain"], result["ndcg@10_gain_se"]
    if gain is not None and error is not None:
        verdict = "the plans personalise" if gain > 2 * error else "not told apart from chance"
        yield f"Own plan against a stranger's: NDCG@10 {gain:+.4f} ± {error:.4f} (paired over devices): {verdict}."
    if result["over_memory_budget"]:
        yield f"{result['over_memory_budget']:,} rows needed more memory than the device had to spare."
    yield from without_result(result)
    yield f"Results: {result['folder']}/summary.json, rounds.csv, devices.parquet, ledger.parquet."
    yield how_to_report(result["folder"])


def unlike(results: Sequence[dict[str, Any]]) -> Iterator[str]:
    """A line that warns where columns of a comparison are means over different devices; none where they are not."""
    served = [
        result["devices"] * result["rounds"] - sum(error["rows"] for error in result["errors"]) for result in results
    ]
    if len(set(served)) > 1:
        counts = ", ".join(f"{result['label']} {count:,}" for result, count in zip(results, served, strict=True))
        yield f"The columns are over different devices (rows with a result: {counts}): they cannot be compared."
        yield "The report pairs like with like; --no-constrain runs every method on every phone."


def interrupted(rounds: int, folder: Path) -> str:
    """What is said after Ctrl-C."""
    if not rounds:
        return "Interrupted: no round was finished."
    return f"Interrupted: {rounds} finished {'round is' if rounds == 1 else 'rounds are'} in {folder}."


MOST_REASONS, _LONGEST = 5, 200  # reasons, and characters of one; the files have all of both


def without_result(result: dict[str, Any]) -> Iterator[str]:
    """Lines that say how many rows of a run have no result and why, most common reason first; none where all have."""
    errors = result["errors"]
    if not errors:
        return
    rows = sum(error["rows"] for error in errors)
    yield f"Without a result: {rows:,} of {result['devices'] * result['rounds']:,} rows (`status` in devices.parquet)."
    for error in errors[:MOST_REASONS]:
        text = error["error"] if len(error["error"]) <= _LONGEST else error["error"][:_LONGEST] + "..."
        where = f"{'such as ' if error['rows'] > 1 else ''}device {error['device']}, round {error['round']}"
        yield f"  {error['rows']:>6,}  {error['status']}: {text} ({where})"
    if len(errors) > MOST_REASONS:
        rest = sum(error["rows"] for error in errors[MOST_REASONS:])
        yield f"  {rest:>6,}  for {len(errors) - MOST_REASONS} other reasons"


def how_to_report(folder: Path | str) -> str:
    """What a run says at its end about its report."""
    return f"Report: chord-fl report {folder} --out {folder}/report.html"
