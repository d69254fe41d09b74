"""Trainings in processes of their own: several at once, to the same bits, and none takes another down."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from chord_fl.config import Config
from simulations import pool, prepare, reproduce
from simulations.locks import is_locked, lock
from simulations.pool import Training, by_length, epochs_done, train_all
from tests.tiny import make


def training(*settings: str) -> Training:
    config = make({"strategy": "static"}, *settings)
    return Training(f"seed {config.seed}", config, "full", prepare.checkpoint_folder(config, "full"))


def test_a_failing_training_takes_no_other_down(cache: Path) -> None:
    good, bad = training("seed=1"), training("seed=2")
    bad.folder.mkdir(parents=True)
    (bad.folder / "config.toml").write_text('method = "other"\n')
    text = io.StringIO()
    reasons = train_all([bad, good], 1, Console(file=text, width=200))
    assert list(reasons) == [bad.folder] and "another configuration" in reasons[bad.folder]
    assert reproduce.is_finished(good) and epochs_done(good.folder) == 1
    assert "seed 1: 1 epochs" in text.getvalue() and "seed 2: failed" in text.getvalue()
    assert not is_locked(good.folder)
    assert train_all([good], 1, Console(file=text)) == {}


def test_one_thread_or_another_process_makes_no_difference(cache: Path, tmp_path: Path) -> None:
    there = training()
    assert not train_all([there], 2, Console(file=io.StringIO()))
    here = training(f"train.checkpoint={tmp_path / 'here'}")
    prepare.trained(here.config, "full")
    model = "model.safetensors"
    assert (there.folder / model).read_bytes() == (here.folder / model).read_bytes()


def test_what_another_process_trains_is_waited_for(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = training("seed=1"), training("seed=2")
    waiting = [first, second]
    with lock(first.folder):
        assert is_locked(first.folder) and not is_locked(second.folder)
        assert pool._next(waiting) is second and pool._next(waiting) is None
    assert pool._next(waiting) is first


def test_long_trainings_come_first(cache: Path) -> None:
    some = [Training(name, Config(), name, Path(name)) for name in ("full", "quant", "chord", "pemn", "adabits")]
    assert [one.method for one in by_length(some)] == ["adabits", "chord", "full", "quant", "pemn"]


@pytest.mark.parametrize(("seconds", "text"), [(3, "3 s"), (200, "3 min"), (9000, "2.5 h")])
def test_duration(seconds: float, text: str) -> None:
    assert pool.duration(seconds) == text
