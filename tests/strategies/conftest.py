"""Runs that several modules compare with: one in which nothing goes wrong, and lives of several sessions."""

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from chord_fl.config import Config
from tests.inprocess import Finished, simulate, small
from tests.lives import SESSIONS, Make, Run


@pytest.fixture(scope="module")
def clean(config: Make, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], pd.DataFrame]:
    """devices.parquet of a run in which nothing goes wrong, by strategy."""
    found: dict[str, pd.DataFrame] = {}

    def rows(strategy: str) -> pd.DataFrame:
        if strategy not in found:
            found[strategy] = simulate(config(strategy=strategy), tmp_path_factory.mktemp(strategy)).devices
        return found[strategy]

    return rows


@pytest.fixture(scope="session")
def life(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """A configuration of several sessions; all of as many share a checkpoint."""
    folder = tmp_path_factory.mktemp("checkpoints")

    def make(sessions: int = SESSIONS, **changes: Any) -> Config:
        return small(folder / str(sessions), life__sessions=sessions, **changes)

    return make


@pytest.fixture(scope="session")
def run(life: Make, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Simulate such a configuration; the same one only once."""
    done: dict[str, Finished] = {}

    def simulated(refresh: str = "always", sessions: int = SESSIONS, **changes: Any) -> Finished:
        config = life(sessions, life__refresh=refresh, **changes)
        key = config.model_dump_json()
        if key not in done:
            done[key] = simulate(config, tmp_path_factory.mktemp("run"))
        return done[key]

    return simulated
