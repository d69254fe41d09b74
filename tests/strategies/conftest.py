"""A run in which nothing goes wrong, to compare the others with."""

from collections.abc import Callable

import pandas as pd
import pytest

from chord_fl.config import Config
from tests.inprocess import (
    simulate,
)

Make = Callable[..., Config]


@pytest.fixture(scope="module")
def clean(config: Make, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], pd.DataFrame]:
    """devices.parquet of a run in which nothing goes wrong, by strategy."""
    found: dict[str, pd.DataFrame] = {}

    def rows(strategy: str) -> pd.DataFrame:
        if strategy not in found:
            found[strategy] = simulate(config(strategy=strategy), tmp_path_factory.mktemp(strategy)).devices
        return found[strategy]

    return rows
