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


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """How two processes share the tests (`-n 2 --dist loadgroup`): a file goes to one of them, so that what it prepares
    is prepared once. Files that start Ray are one group, so that two never do at once, and come first: they take long.
    """
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.location[0]))
    items.sort(key=lambda item: not any(mark.args == ("ray",) for mark in item.iter_markers("xdist_group")))


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the checkpoints of `config` are trained once per session."""
    return tmp_path_factory.mktemp("checkpoint")


@pytest.fixture(scope="session")
def config(checkpoint: Path) -> Callable[..., Config]:
    """A small configuration with changes, all of which share one checkpoint per method."""
    from tests.inprocess import small  # Flower and Ray: only tests that ask for a configuration pay for them

    return lambda **changes: small(checkpoint, **changes)
