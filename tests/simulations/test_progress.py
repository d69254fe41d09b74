"""Progress: whole sentences in a log, two lines on a terminal, nothing where nobody wants it."""

import io
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from chord_fl.cloud.training import Epoch
from chord_fl.config import Config, TrainConfig
from simulations import console, progress
from simulations.progress import describe, size, style, view
from simulations.watch import Standing

CONFIG = Config(train=TrainConfig(checkpoint="somewhere", epochs=4))
BUSY = Standing(
    rounds=120, round=17, finished=16, action="evaluate.finetune", done=612_345, asked=1_000_000, ndcg=0.0658
)
MEASURED = {"ndcg@10": 0.05, "hr@10": 0.1, "plan_difference": 0.4, "ndcg@10_stranger": 0.04}


@pytest.fixture
def errors(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What goes to a stderr that is not a terminal."""
    text = io.StringIO()
    monkeypatch.setattr(console, "err", Console(file=text, width=80))
    yield text


def epochs(told: progress.prepare.Progress, count: int) -> None:
    told.on_start(Path("a") / "checkpoint", False)
    for number in range(1, count + 1):
        told.on_batch(1, 2)
        told.on_epoch(Epoch(number, 5.0, MEASURED, number == 2, 1.5))


def test_a_log_has_a_line_per_epoch(errors: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PERIOD", 0.0)
    with progress.training(CONFIG, "chord", "lines") as told:
        epochs(told, 4)
    lines = errors.getvalue().splitlines()
    assert "training CHORD on ml-100k" in lines[0] and lines[0].endswith("into a/checkpoint")
    assert [line.split()[:2] for line in lines[2:]] == [["epoch", str(number)] for number in range(1, 5)]
    assert "loss 5.00  NDCG@10 0.0500 (stranger 0.0400)" in lines[2] and lines[3].endswith("best")
    assert all(character.isprintable() or character == "\n" for character in errors.getvalue())


def test_a_log_is_spared_epochs_that_follow_at_once_but_not_the_last(
    errors: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "PERIOD", 3600.0)
    with progress.training(CONFIG, "chord", "lines") as told:
        epochs(told, 4)
    shown = [line.split()[1] for line in errors.getvalue().splitlines() if line.startswith("epoch")]
    assert shown == ["1", "4"]


def test_quiet_shows_no_training(errors: io.StringIO) -> None:
    with progress.training(CONFIG, "chord", "none") as told:
        epochs(told, 4)
    assert not errors.getvalue()


def test_waiting_for_another_process_is_seen(errors: io.StringIO) -> None:
    with progress.training(CONFIG, "full", "lines") as told:
        told.on_wait("17")
    assert "Waiting for process 17, which trains somewhere/full\n" in errors.getvalue()


@pytest.mark.parametrize(
    ("terminal", "quiet", "verbose", "expected"),
    [
        (True, False, False, "live"),
        (True, False, True, "lines"),  # the engine logs into the same terminal
        (True, True, False, "none"),
        (False, False, False, "lines"),
        (False, True, True, "none"),
    ],
)
def test_where_progress_is_shown(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, quiet: bool, verbose: bool, expected: str
) -> None:
    monkeypatch.setattr(console, "err", Console(file=io.StringIO(), force_terminal=terminal))
    assert style(quiet, verbose) == expected


def test_a_standing_in_words() -> None:
    standing = Standing(**{**vars(BUSY), "bytes": 403_792_592, "rate": 1054.3, "left": 12.2})
    assert describe(standing) == (
        "round 17 of 120, finetune: 612,345 of 1,000,000 devices; 1,054 devices/s; NDCG@10 0.0658; 404 MB sent; "
        "about 12 s left"
    )
    assert describe(BUSY).endswith("devices; NDCG@10 0.0658"), "what is not known is not there"
    everyone = Standing(**{**vars(BUSY), "done": BUSY.asked})
    assert "; the cloud is at work; " in describe(everyone)
    assert "cloud" not in describe(Standing(**{**vars(everyone), "finished": 17}))


@pytest.mark.parametrize("width", [80, 120])
def test_a_terminal_of_80_characters_holds_the_live_view(width: int) -> None:
    standing = Standing(**{**vars(BUSY), "bytes": 403_792_592_000, "rate": 12_054.3, "left": 4000.0})
    screen = Console(width=width, file=io.StringIO())
    with screen.capture() as shown:
        screen.print(view("covisitation", standing))
    first, second = shown.get().splitlines()
    assert "612,345 of 1,000,000 devices" in first and "round 17 of 120" in first and "about 67 min left" in second


def test_lines_of_the_same_moment_are_one() -> None:
    moments = itertools.chain([0.0, 0.0, 1.0, 2.9, 3.0, 3.0], itertools.repeat(9.0))
    text = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(console, "err", Console(file=text, width=80))
        say = progress._lines(3.0, clock=lambda: next(moments))
        for word in ("first", "too soon", "too soon", "late enough"):
            say(word, False)
        say("the last", True)
    assert text.getvalue().splitlines() == ["first", "late enough", "the last"]


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (480_123, "480 kB"), (403_385_224, "403 MB"), (5e15, "5e+03 TB")],
)
def test_sizes(count: float, text: str) -> None:
    assert size(int(count)) == text
