"""Settings and fixtures that every test shares."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from chord_fl.config import Config

# Quiet engines, no phoning home; Ray's workers find the packages of this checkout.
os.environ.update(FLWR_TELEMETRY_ENABLED="0", FLWR_DISABLE_UPDATE_CHECK="1", RAY_USAGE_STATS_ENABLED="0")

torch.set_num_threads(1)  # tiny matrices: threads only wait for each other, for minutes where the cores are shared

settings.register_profile("chord-fl", deadline=None)  # tests never assert times
settings.load_profile("chord-fl")


# most of them start Ray; whoever shares the tests between processes (`make test`) begins with what takes longest
LONGEST = ("test_cli.py", "test_notebooks.py", "test_personalisation.py", "test_engine.py", "test_run.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, so that no process is left with one at the end; the others as they were found."""
    place = {name: index for index, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.name, len(place)))


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the checkpoints of `config` are trained once per session."""
    return tmp_path_factory.mktemp("checkpoint")


@pytest.fixture(scope="session")
def config(checkpoint: Path) -> Callable[..., Config]:
    """A small configuration with changes, all of which share one checkpoint per method."""
    from tests.inprocess import small  # Flower and Ray: only tests that ask for a configuration pay for them

    return lambda **changes: small(checkpoint, **changes)
