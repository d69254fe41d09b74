"""Trainings side by side: a process each, whose checkpoints the others find when they are done.

A training computes on one thread (chord_fl.cloud.training), so that a core each is all they need.
"""

import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from chord_fl.cloud import checkpoint
from chord_fl.config import Config
from chord_fl.errors import ChordError
from simulations import prepare
from simulations.locks import is_locked

LONGEST_FIRST = ("adabits", "chord", "mbquant", "rfquant")  # methods; a long one begun last would run alone
_POLL = 0.25  # seconds


@dataclass(frozen=True)
class Training:
    """A checkpoint that has to be there."""

    label: str
    config: Config
    method: str
    folder: Path  # where it is, or will be


@dataclass
class _Running:
    training: Training
    process: SpawnProcess
    reason: Connection  # where it says why it failed; empty if it did not
    started: float
    before: int  # epochs that an earlier attempt had done
    bar: TaskID


@dataclass
class _Tally:
    """What the display needs to know."""

    total: int
    started: float = field(default_factory=time.monotonic)
    finished: int = 0
    epochs: int = 0  # done by finished trainings, in this call

    def left(self, epochs_now: int, epochs_to_go: int) -> str:
        """The time left, from the epochs per second so far."""
        done = self.epochs + epochs_now
        if not done:
            return "time left: known after the first epoch"
        return f"about {duration((time.monotonic() - self.started) * epochs_to_go / done)} left"


def by_length(trainings: Sequence[Training]) -> list[Training]:
    """The same, long ones first."""
    rank = {method: index for index, method in enumerate(LONGEST_FIRST)}
    return sorted(trainings, key=lambda training: rank.get(training.method, len(rank)))


def epochs_done(folder: Path) -> int:
    """Rows of a training curve so far."""
    try:
        return max(0, (folder / checkpoint.CURVE_FILE).read_bytes().count(b"\n") - 1)
    except OSError:
        return 0


def train_all(trainings: Sequence[Training], jobs: int, console: Console) -> dict[Path, str]:
    """Train what is not there yet, `jobs` at a time; returns why some failed, by checkpoint folder.

    A failure takes no other training down. Interrupted, all stop after what they have written; the next call goes on
    from there.
    """
    waiting = [training for training in by_length(trainings) if not checkpoint.is_finished(training.folder)]
    if not waiting:
        return {}
    failures: dict[Path, str] = {}
    running: list[_Running] = []
    tally = _Tally(len(waiting))
    columns = (
        *(TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn()),
        *(TextColumn("{task.fields[unit]}"), TimeElapsedColumn(), TextColumn("{task.fields[left]}")),
    )
    with Progress(*columns, console=console) as progress:
        everything = progress.add_task("training", total=tally.total, unit="models", left="")
        try:
            while waiting or running:
                while len(running) < jobs and (training := _next(waiting)) is not None:
                    running.append(_start(training, progress))
                time.sleep(_POLL)
                for job in [job for job in running if not job.process.is_alive()]:
                    running.remove(job)
                    reason = _end(job)
                    if reason:
                        failures[job.training.folder] = reason
                    _count(job, tally)
                    progress.remove_task(job.bar)
                    console.print(_line(job, reason, tally), soft_wrap=True)
                _show(progress, everything, running, waiting, tally)
        finally:
            for job in running:
                job.process.terminate()
            for job in running:
                job.process.join()
    return failures


def _next(waiting: list[Training]) -> Training | None:
    """Take the first training that no other process is busy with."""
    for training in waiting:
        if not is_locked(training.folder):
            waiting.remove(training)
            return training
    return None


def _start(training: Training, progress: Progress) -> _Running:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(training, theirs, os.getpid()), name=training.label, daemon=True)
    process.start()
    theirs.close()
    epochs = training.config.train.epochs
    bar = progress.add_task(f"  {training.label}", total=epochs, unit="epochs", left="")
    return _Running(training, process, ours, time.monotonic(), epochs_done(training.folder), bar)


def _end(job: _Running) -> str:
    """Why a process that has ended failed; empty if it did not."""
    job.process.join()
    try:
        reason = str(job.reason.recv())
    except EOFError:
        reason = f"its process ended with code {job.process.exitcode}"
        if job.process.exitcode == -signal.SIGKILL:
            reason += ", as the system does to processes when memory runs out"
    job.reason.close()
    return reason


def _work(training: Training, reason: Connection, parent: int) -> None:
    """What the process does: train, and say why it failed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the parent ends this one in order

    def stay_with_parent(done: int, total: int) -> None:
        if os.getppid() != parent:
            sys.exit(1)

    try:
        prepare.trained(training.config, training.method, prepare.Progress(on_batch=stay_with_parent))
    except ChordError as error:
        reason.send(str(error))
    except Exception as error:
        details = training.folder.with_name(f"{training.folder.name}.error.txt")
        details.write_text(traceback.format_exc())
        reason.send(f"{type(error).__name__}: {error} (details: {details})")
    else:
        reason.send("")


def _count(job: _Running, tally: _Tally) -> None:
    tally.finished += 1
    tally.epochs += max(0, epochs_done(job.training.folder) - job.before)


def _line(job: _Running, reason: str, tally: _Tally) -> str:
    head = f"{tally.finished} of {tally.total}  {job.training.label}: "
    if reason:
        return f"{head}[red]failed[/]: {escape(reason)}"
    return f"{head}{epochs_done(job.training.folder)} epochs, {duration(time.monotonic() - job.started)}"


def _show(
    progress: Progress, everything: TaskID, running: list[_Running], waiting: list[Training], tally: _Tally
) -> None:
    now = to_go = 0
    for job in running:
        done, total = epochs_done(job.training.folder), job.training.config.train.epochs
        progress.update(job.bar, completed=done)
        now, to_go = now + done - job.before, to_go + total - done
    for training in waiting:
        to_go += training.config.train.epochs - epochs_done(training.folder)
    progress.update(everything, completed=tally.finished, left=tally.left(now, to_go))


def duration(seconds: float) -> str:
    """A time span as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
