"""Flower's simulation on Ray gives what the in-process run gives, and raises what the strategy raises."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from chord_fl.config import Config
from simulations import engine
from simulations.server_app import workers
from strategies.base import MostDevicesFailedError
from tests.inprocess import DEVICES, assert_same_results, settle, simulate

Make = Callable[..., Config]


@pytest.mark.parametrize(
    ("per_node", "devices", "expected"),
    [(1, 90, 90), (7, 90, 13), (90, 90, 1), (45, 90, 2), (89, 90, 2), (1000, 90, 1)],
)
def test_nodes_for_so_many_devices_each(config: Make, per_node: int, devices: int, expected: int) -> None:
    settings = config(simulation__devices_per_node=per_node, simulation__workers=2)
    assert engine.nodes(settings, devices) == expected


@pytest.mark.parametrize("processes", [1, 2, 16])
@pytest.mark.parametrize("devices", [1, 2, 3, 90, 943, 10_000, 1_000_000])
def test_nodes_by_itself_keep_every_worker_busy(config: Make, devices: int, processes: int) -> None:
    found = engine.nodes(config(simulation__workers=processes), devices)
    assert min(devices, processes) <= found <= min(devices, engine.NODES_PER_WORKER * processes)


def test_workers_are_the_processors_unless_told(config: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    assert workers(config(simulation__workers=3)) == 3
    # those that this process may use, which a container or a scheduler can make fewer than the machine has
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(5)), raising=False)
    assert workers(config()) == 5
    monkeypatch.delattr("os.sched_getaffinity")
    monkeypatch.setattr("os.cpu_count", lambda: 7)
    assert workers(config()) == 7
    monkeypatch.setattr("os.cpu_count", lambda: None)
    assert workers(config()) == 1


# --- Ray -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def expected(config: Make, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    settings = config(strategy="chord", simulation__rounds=2)
    return simulate(settings, tmp_path_factory.mktemp("inprocess")).devices


@pytest.mark.parametrize(("processes", "per_node"), [(2, 0), (1, 40)])
def test_ray_gives_what_the_in_process_run_gives(
    config: Make, tmp_path: Path, expected: pd.DataFrame, processes: int, per_node: int
) -> None:
    settings = config(
        strategy="chord",
        simulation__rounds=2,
        simulation__workers=processes,
        simulation__devices_per_node=per_node,
    )
    strategy, _ = settle(settings, tmp_path, engine.nodes(settings, DEVICES))
    engine.run(strategy, settings, DEVICES)
    assert_same_results(pd.read_parquet(tmp_path / "devices.parquet"), expected)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["rounds"] == 2 and summary["failures"] == 0
    assert len(pd.read_csv(tmp_path / "rounds.csv")) == 2


def test_what_the_strategy_raises_is_raised_and_the_files_are_whole(config: Make, tmp_path: Path) -> None:
    settings = config(strategy="chord", simulation__workers=1, simulation__devices_per_node=40)
    strategy, _ = settle(settings, tmp_path, 3)
    strategy.shipment.path.write_bytes(strategy.shipment.payload[:-1] + b"?")
    with pytest.raises(MostDevicesFailedError, match=r"^round 1: 90 of 90 devices failed; .*SHA-256"):
        engine.run(strategy, settings, DEVICES)
    rows = pd.read_parquet(tmp_path / "devices.parquet")
    assert len(rows) == DEVICES and rows["error"].str.contains("SHA-256").all()
    assert json.loads((tmp_path / "summary.json").read_text())["failures"] == DEVICES


def test_what_breaks_while_a_ctrl_c_is_handled_is_the_ctrl_c(
    config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        try:
            raise KeyboardInterrupt
        finally:
            raise RuntimeError("the simulation crashed")

    settings = config(strategy="chord", simulation__workers=1)
    strategy, _ = settle(settings, tmp_path, 1)
    monkeypatch.setattr("flwr.simulation.run_simulation", broken)
    with pytest.raises(KeyboardInterrupt):
        engine.run(strategy, settings, DEVICES)
    monkeypatch.setattr("flwr.simulation.run_simulation", lambda *_, **__: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        engine.run(strategy, settings, DEVICES)
