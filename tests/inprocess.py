"""Runs in this process (simulations.inprocess) of a population that a test can afford."""

from pathlib import Path
from typing import Any

import pandas as pd

from chord_fl.config import Config, make_config
from chord_fl.trees import overlay
from simulations.inprocess import (
    Client,
    Finished,
    Hook,
    InProcessGrid,
    exported,
    flower_task,
    go,
    only,
    settle,
    simulate,
    transported,
    unchanged,
)

__all__ = [
    "DEVICES",
    "ITEMS",
    "PACE",
    "TIMES",
    "Client",
    "Finished",
    "Hook",
    "InProcessGrid",
    "assert_same_results",
    "exported",
    "flower_task",
    "go",
    "only",
    "settle",
    "simulate",
    "small",
    "transported",
    "unchanged",
]

DEVICES = 90  # more than a block of the device's computations, and not a multiple of one
ITEMS = 200
TIMES = ["seconds", "adaptation_seconds"]  # columns that differ from run to run
PACE = ["wall_seconds", "devices_per_second", "adaptation_seconds"]  # figures that do


def small(checkpoint: Path, **changes: Any) -> Config:
    """A configuration that a test can afford; `changes` are dotted keys with __ for the dot."""
    tree: dict[str, Any] = {
        "data": {"name": "synthetic", "devices": DEVICES, "items": ITEMS},
        "model": {"blocks": 1, "dim": 16, "window": 5, "history": 10},
        "train": {"train_users": 60, "epochs": 2, "checkpoint": str(checkpoint)},
        "finetune": {"steps": 2, "learning_rate": 0.05},
        "population": {"constrain": False},  # every strategy on every device; tests of budgets say otherwise
    }
    return make_config(overlay(tree, {key.replace("__", "."): value for key, value in changes.items()}))


def assert_same_results(one: pd.DataFrame, other: pd.DataFrame) -> None:
    """devices.parquet of two runs, bit for bit, except how long things took."""
    pd.testing.assert_frame_equal(one.drop(columns=TIMES), other.drop(columns=TIMES), check_exact=True)
