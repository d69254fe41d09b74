"""How training and rounds are shown while they go on: live on a terminal, as lines in a pipe or a log, or not at all.

All of it goes to stderr. Lines have no control characters, and come at most every few seconds.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf
from pathlib import Path
from typing import Literal

from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from chord_fl.cloud.training import Epoch
from chord_fl.config import Config
from chord_fl.report.record import Record
from simulations import console, prepare
from simulations.pool import duration
from simulations.watch import Standing, Watch

Style = Literal["live", "lines", "none"]
PERIOD = 3.0  # seconds between two lines, at least


def style(quiet: bool, verbose: bool) -> Style:
    """How to show progress on this stderr. An engine that logs would write into a live display: it gets lines."""
    if quiet:
        return "none"
    return "live" if console.err.is_terminal and not verbose else "lines"


@contextmanager
def training(config: Config, method: str, how: Style) -> Iterator[prepare.Progress]:
    """Show a training that may or may not be needed: nothing appears unless it starts."""
    if how == "none":
        yield prepare.SILENT
        return
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("epochs{task.fields[batch]}"),
        TimeRemainingColumn(),
        TextColumn("left"),
        console=console.err,
        transient=True,
        disable=how != "live",
    )
    task = bar.add_task("training", total=config.train.epochs, visible=False, batch="")
    say, reached = _lines(0.0 if how == "live" else PERIOD), 0

    def on_start(folder: Path, resumes: bool) -> None:
        what = {"chord": "CHORD", "full": "the full-precision model"}.get(method, method)
        begin = "Resuming the training of" if resumes else "No checkpoint for this configuration yet: training"
        console.warn(f"{begin} {what} on {config.data.name} (seed {config.seed}, {config.train.device}) into {folder}")
        console.warn("NDCG@10 and HR@10 are of validation: the second last item of each user, full ranking.")
        bar.update(task, visible=True)

    def on_wait(holder: str) -> None:
        console.warn(f"Waiting for process {holder}, which trains {prepare.checkpoint_folder(config, method)}")

    def on_batch(done: int, total: int) -> None:
        bar.update(task, completed=reached + done / total, batch=f", batch {done}/{total}")

    def on_epoch(epoch: Epoch) -> None:
        nonlocal reached
        reached = epoch.epoch
        bar.update(task, completed=reached, batch="")
        say(_epoch(epoch), epoch.epoch == config.train.epochs)

    with bar:
        yield prepare.Progress(on_start, on_epoch, on_batch, on_wait)


def _epoch(epoch: Epoch) -> str:
    v = epoch.validation
    line = f"epoch {epoch.epoch:3d}  loss {epoch.loss:.2f}  NDCG@10 {v['ndcg@10']:.4f}"
    if v["plan_difference"] == v["plan_difference"]:
        line += f" (stranger {v['ndcg@10_stranger']:.4f})"
    return line + f"  HR@10 {v['hr@10']:.4f}  {epoch.seconds:.3g} s" + (" best" if epoch.best else "")


@contextmanager
def waiting(text: str, how: Style) -> Iterator[Callable[[str], None]]:
    """Show that something takes its time; what is yielded says how far it is."""
    if how == "live":
        with console.err.status(text) as status:
            yield status.update
    elif how == "lines":
        say = _lines(PERIOD)
        yield lambda line: say(line, False)
    else:
        yield lambda line: None


@contextmanager
def rounds(record: Record, config: Config, label: str, how: Style) -> Iterator[Watch | None]:
    """Show the rounds of a run that is about to start; None where nobody looks."""
    begin = f"{label}: starting the engine for {record.devices:,} devices"
    if how == "none":
        yield None
    elif how == "lines":
        console.warn(begin)
        say = _lines(PERIOD)

        def changed(standing: Standing) -> None:
            say(f"{label}: {describe(standing)}", standing.finished == standing.rounds)

        yield Watch(record, config.rounds, changed)
    else:
        watch, waiting = Watch(record, config.rounds), Spinner("dots", begin)
        with Live(
            get_renderable=lambda: view(label, watch.standing) if watch.standing.round else waiting,
            console=console.err,
            refresh_per_second=8,
            transient=True,
        ):
            yield watch
        console.warn(f"{label}: {describe(watch.standing)}")


def describe(standing: Standing) -> str:
    """A standing in one line."""
    exchange = standing.action.rpartition(".")[2]
    head = f"round {standing.round} of {standing.rounds}, {exchange}: {standing.done:,} of {standing.asked:,} devices"
    return "; ".join((head, *_figures(standing)))


def view(label: str, standing: Standing) -> Group:
    """A standing in two lines with a bar, for a terminal of 80 characters or more."""
    exchange = standing.action.rpartition(".")[2]
    first = Table.grid(padding=(0, 1), expand=True)
    first.add_column(no_wrap=True)
    first.add_column(ratio=1)
    first.add_column(no_wrap=True)
    first.add_row(
        Text(f"{label}  round {standing.round} of {standing.rounds}  {exchange}"),
        ProgressBar(total=standing.asked, completed=standing.done),
        Text(f"{standing.done:,} of {standing.asked:,} devices"),
    )
    return Group(first, Text("  " + "  ".join(_figures(standing)), style="dim"))


def _figures(standing: Standing) -> Iterator[str]:
    if standing.done == standing.asked and standing.finished < standing.round:
        yield "the cloud is at work"
    if standing.rate == standing.rate:
        yield f"{standing.rate:,.0f} devices/s"
    if standing.ndcg == standing.ndcg:
        yield f"NDCG@10 {standing.ndcg:.4f}"
    if standing.bytes:
        yield f"{size(standing.bytes)} sent"
    if standing.left > 0:
        yield f"about {duration(standing.left)} left"


def size(count: int) -> str:
    """Bytes as people read them, in powers of 1,000."""
    number, units = float(count), iter(("B", "kB", "MB", "GB", "TB"))
    unit = next(units)
    while number >= 1000 and unit != "TB":
        number, unit = number / 1000, next(units)
    return f"{number:.0f} B" if unit == "B" else f"{number:.3g} {unit}"


def _lines(period: float, clock: Callable[[], float] = time.monotonic) -> Callable[[str, bool], None]:
    """A function that prints a line, unless the one before is less than `period` seconds old and this is not forced."""
    before = -inf

    def say(text: str, forced: bool) -> None:
        nonlocal before
        if forced or clock() - before >= period:
            before = clock()
            console.warn(text)

    return say
