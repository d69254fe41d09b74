"""Runs to report, simulated once: a comparison under budgets with two seeds, and a life of sessions."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.inprocess import simulate, small


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The folder of a finished run of a small configuration; the same one is simulated only once."""
    home, done = tmp_path_factory.mktemp("runs"), dict[str, Path]()

    def folder(name: str, strategy: str = "chord", seed: int = 0, sessions: int = 1, **changes: Any) -> Path:
        if name not in done:
            checkpoints = home / f"checkpoints-{seed}-{sessions}"
            done[name] = home / name
            who = {"strategy": strategy, "seed": seed, "life__sessions": sessions}
            simulate(small(checkpoints, train__epochs=1, **who, **changes), done[name])
        return done[name]

    return folder


@pytest.fixture(scope="session")
def comparison(run: Callable[..., Path]) -> list[Path]:
    """CHORD with two seeds, static and finetune with one, on every device."""
    return [
        run("compare/chord"),
        run("compare/static", "static"),
        run("compare/finetune", "finetune"),
        run("again/chord", seed=1),
    ]


@pytest.fixture(scope="session")
def sampled(run: Callable[..., Path]) -> list[Path]:
    """CHORD beside FedAvg, which asks half of the devices for a result, and a strategy that counts."""
    fedavg = "flwr.serverapp.strategy:FedAvg"
    options = {"fraction_train": 0.2, "fraction_evaluate": 0.5}
    return [
        run("compare/chord"),
        run("sampled/fedavg", fedavg, strategy_options=options),
        run("sampled/popular", "popular"),
    ]


@pytest.fixture(scope="session")
def life(run: Callable[..., Path]) -> list[Path]:
    """Three sessions of CHORD with plans always and once, under budgets, with losses."""
    changes = {"population__constrain": True, "faults__lost": 0.2, "faults__corrupted": 0.2, "sessions": 3}
    return [run("life/always", **changes), run("life/once", life__refresh="once", **changes)]
