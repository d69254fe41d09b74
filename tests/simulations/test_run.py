"""A run from Python: one function, the same files as the command's, read back as tables."""

import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest

from chord_fl.config import Config
from chord_fl.errors import ConfigError
from simulations import engine, run
from simulations.prepare import SILENT, Progress
from simulations.server_app import run_rounds
from simulations.settings import VARIABLE, exported
from simulations.watch import Watch
from strategies.base import DeviceStrategy
from tests.inprocess import DEVICES, InProcessGrid, assert_same_results, flower_task
from tests.inprocess import simulate as in_process

Make = Callable[..., Config]
README = Path(__file__).parents[2] / "README.md"


@pytest.fixture
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine, in this process."""

    def rounds(
        strategy: DeviceStrategy, config: Config, devices: int, verbose: bool = False, watch: Watch | None = None
    ) -> None:
        logging.getLogger("flwr").setLevel(logging.CRITICAL)
        with exported(config), flower_task():
            run_rounds(InProcessGrid(engine.nodes(config, devices)), strategy, config)

    monkeypatch.setattr(engine, "run", rounds)


def test_the_readme_example_runs_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: tmp_path / "cache" / name)
    before = {name: os.environ.get(name) for name in (VARIABLE, "PYTHONPATH")}
    section = README.read_text().split("## From Python")[1]
    (example,) = re.findall(r"```python\n(.*?)```", section.split("\n## ")[0], re.DOTALL)
    assert len(example.strip().splitlines()) <= 10
    names: dict[str, object] = {}
    exec(example, names)
    result = names["result"]
    assert isinstance(result, run.Result) and len(result.devices) == 300 == result.summary["devices"]
    assert f"{result.summary['ndcg@10']} {result.summary['ndcg@10_stranger']}" in capsys.readouterr().out
    assert {name: os.environ.get(name) for name in before} == before, "the run left the environment as it was"


def test_a_result_is_what_the_strategy_recorded(config: Make, tmp_path: Path, no_ray: None) -> None:
    settings = config(simulation__rounds=2)
    result = run.simulate(settings, tmp_path / "run")
    other = in_process(settings, tmp_path / "other")
    assert_same_results(result.devices, other.devices)
    order = ["round", "device", "purpose"]  # messages are entered as nodes answer
    ledgers = [one.ledger.sort_values(order, ignore_index=True) for one in (result, other)]
    pd.testing.assert_frame_equal(*ledgers)
    assert len(result.devices) == 2 * DEVICES and result.rounds["round"].tolist() == [1, 2]
    timed = {"wall_seconds", "startup_seconds", "devices_per_second", "adaptation_seconds"}
    summary = {key: value for key, value in result.summary.items() if key not in timed}
    assert summary == {key: value for key, value in other.summary.items() if key not in timed}
    assert run.Result(tmp_path / "run").summary == result.summary


def test_what_was_not_measured_is_nan(config: Make, tmp_path: Path, no_ray: None) -> None:
    summary = run.simulate(config(strategy="popular"), tmp_path / "run").summary
    assert summary["ndcg@10_stranger"] != summary["ndcg@10_stranger"]


def test_displays_are_around_training_and_then_around_rounds(config: Make, tmp_path: Path, no_ray: None) -> None:
    seen: list[str] = []

    @contextmanager
    def training(settings: Config, method: str) -> Iterator[Progress]:
        seen.append(f"training {method}")
        yield SILENT
        seen.append("trained")

    @contextmanager
    def rounds(strategy: DeviceStrategy) -> Iterator[None]:
        seen.append(f"rounds of {strategy.config.strategy}")
        assert not strategy.record.summary
        yield
        seen.append(f"{strategy.record.summary['rounds']} done")

    run.simulate(config(), tmp_path / "run", training=training, rounds=rounds)
    assert seen == ["training chord", "trained", "rounds of chord", "1 done"]


def test_a_run_that_was_given_no_folder_goes_where_the_command_puts_it(
    config: Make, tmp_path: Path, no_ray: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = run.simulate(config(strategy="popular")).folder
    assert re.fullmatch(r"runs/\d{8}-\d{6}-popular", str(folder)) and (tmp_path / folder / "summary.json").exists()


def test_nothing_is_begun_that_cannot_work(config: Make, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"simulation\.devices_per_node = 91"):
        run.simulate(config(simulation__devices_per_node=DEVICES + 1), tmp_path / "run")
    assert not (tmp_path / "run").exists()
