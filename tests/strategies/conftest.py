"""A configuration whose checkpoints are trained once per session."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from chord_fl.config import Config
from tests.inprocess import small

torch.set_num_threads(1)  # tiny matrices: threads only wait for each other, for minutes where the cores are shared


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("checkpoint")


@pytest.fixture(scope="session")
def config(checkpoint: Path) -> Callable[..., Config]:
    """The small configuration with changes, all of which share one checkpoint per method."""
    return lambda **changes: small(checkpoint, **changes)
