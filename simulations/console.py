"""What the command line shows: progress of training and rounds, and tables of results."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from chord_fl.cloud.training import Epoch
from chord_fl.config import Config
from chord_fl.status import EXPECTED, word
from simulations import prepare
from strategies.base import DeviceStrategy

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


@contextmanager
def training_progress(config: Config, method: str) -> Iterator[prepare.Progress]:
    """Lines and a bar for a training that may or may not be needed: nothing is shown unless it starts."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("epochs"),
        TimeElapsedColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=err,
    )
    task = bar.add_task("training", total=config.train.epochs, visible=False)
    reached = 0

    def on_start(folder: Path, resumes: bool) -> None:
        what = {"chord": "CHORD", "full": "the full-precision model"}.get(method, method)
        begin = "Resuming the training of" if resumes else "No checkpoint for this configuration yet: training"
        err.print(f"{begin} {what} on {config.data.name} (seed {config.seed}, {config.train.device}) into {folder}")
        err.print("NDCG@10 and HR@10 are of validation: the second last item of each user, full ranking.")
        bar.update(task, visible=True)

    def on_wait(holder: str) -> None:
        err.print(f"Waiting for process {holder}, which trains {prepare.checkpoint_folder(config, method)}")

    def on_batch(done: int, total: int) -> None:
        bar.update(task, completed=reached + done / total)

    def on_epoch(epoch: Epoch) -> None:
        nonlocal reached
        reached = epoch.epoch
        bar.update(task, completed=reached)
        err.print(_epoch_line(epoch))

    with bar:
        yield prepare.Progress(on_start, on_epoch, on_batch, on_wait)
        bar.update(task, total=reached or None)


@contextmanager
def rounds_progress(strategy: DeviceStrategy) -> Iterator[None]:
    """A line that says what the rounds are at; when they are interrupted, where the finished ones are."""
    name, devices = strategy.config.strategy, strategy.record.devices
    with err.status(f"{name}: starting the engine for {devices:,} devices") as status:
        strategy.notify = lambda text: status.update(f"{name}: {text}")
        try:
            yield
        except KeyboardInterrupt:
            err.print(f"Interrupted. The finished rounds are in {strategy.record.folder}.")
            raise


def _epoch_line(epoch: Epoch) -> str:
    v = epoch.validation
    line = f"epoch {epoch.epoch:3d}  loss {epoch.loss:.3f}  NDCG@10 {v['ndcg@10']:.4f}"
    if v["plan_difference"] == v["plan_difference"]:
        line += f" (stranger {v['ndcg@10_stranger']:.4f})"
    return line + f"  HR@10 {v['hr@10']:.4f}  {epoch.seconds:.1f} s" + ("  [green]best[/]" if epoch.best else "")


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
    shown = [per_device(summary) for summary in summaries]
    several = any(summary.get("rounds", 1) > 1 for summary in summaries)
    for head, key, form in _FIGURES:
        if key in _LOSSES and not any(summary[key] for summary in shown):
            continue  # what happened to nobody needs no line
        if key in _DECISIONS and not several:
            continue  # in a single round everybody asks
        table.add_row(head, *(_cell(summary[key], form) for summary in shown), end_section=key in _SECTION_ENDS)
    return table


# what it is called, key of the summary (or of `per_device`), format
_FIGURES = (
    ("NDCG@5", "ndcg@5", "{:.4f}"),
    ("HR@5", "hr@5", "{:.4f}"),
    ("NDCG@10", "ndcg@10", "{:.4f}"),
    ("HR@10", "hr@10", "{:.4f}"),
    ("NDCG@10, stranger's plan", "ndcg@10_stranger", "{:.4f}"),
    ("HR@10, stranger's plan", "hr@10_stranger", "{:.4f}"),
    ("NDCG@10, own - stranger's", "ndcg@10_gain", "{:+.4f}"),
    ("  standard error, paired", "ndcg@10_gain_se", "{:.4f}"),
    ("channels that differ", "plan_difference", "{:.1%}"),
    ("average bits", "average_bits", "{:.3f}"),
    ("Param as in paper, Mbit", "param_mbit", "{:.4f}"),
    ("bytes up per device", "uplink_bytes_per_device", "{:,.0f}"),
    ("bytes down per device", "downlink_bytes_per_device", "{:,.0f}"),
    ("profile, plan, weights", "adaptation_bytes_per_device", "{:,.0f}"),
    ("rounds asking for a plan", "asked", "{:.1%}"),
    ("drift since plan was made", "drift", "{:.4f}"),
    ("adaptation, ms", "adaptation_ms", "{:.2f}"),
    ("modelled seconds per device", "virtual_seconds_per_device", "{:.3g}"),
    ("joules per device", "joules_per_device", "{:.3g}"),
    ("over memory budget", "over_memory_budget", "{:,d}"),
    *((f"  {word(status).replace('_', ' ')}", word(status), "{:,d}") for status in EXPECTED),
    ("failures", "failures", "{:,d}"),
)
_DECISIONS = ("asked", "drift")
_LOSSES = tuple(word(status) for status in EXPECTED)
_FIRST_COLUMN, _WIDEST_CELL = 29, 7  # characters
_SECTION_ENDS = ("hr@10", "plan_difference", "param_mbit", "adaptation_ms", "joules_per_device")


def per_device(summary: dict[str, Any]) -> dict[str, Any]:
    """A summary with its byte totals per device, and the adaptation time in milliseconds."""
    devices = max(summary["devices"], 1)
    totals = ("uplink_bytes", "downlink_bytes", "adaptation_bytes", "joules")
    return {
        **summary,
        **{f"{name}_per_device": summary[name] / devices for name in totals},
        "average_bits": summary["average_bits"] or float("nan"),  # counts have none
        "adaptation_ms": 1000 * summary["adaptation_seconds"],
    }


def _cell(value: float | None, form: str) -> str:
    return "-" if value is None or value != value else form.format(value)


def protocol(summary: dict[str, Any]) -> str:
    """The protocol that the figures hold under, in one line."""
    ranked = f"{summary['candidates']} candidates" if summary["candidates"] else "full catalogue"
    sessions = summary["sessions"]
    held_out = "last item held out" if sessions == 1 else f"last {sessions} items held out, a round each"
    return (
        f"{summary['dataset']}, {summary['backbone']}, seed {summary['seed']}, {summary['devices']:,} devices, "
        f"{summary['rounds']} round(s); {held_out}, {ranked}, seen items "
        f"{'kept' if summary['seen'] == 'keep' else 'excluded'}"
    )
