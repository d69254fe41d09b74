"""Configurations of the experiments that a test can afford."""

from collections.abc import Mapping
from typing import Any

from chord_fl.config import Config
from simulations.options import resolve

TINY = [
    *("data.name=synthetic", "data.devices=60", "data.items=100", "train.train_users=40", "train.epochs=1"),
    *("model.dim=16", "model.blocks=1", "simulation.workers=1"),
]


def make(changes: Mapping[str, Any], *settings: str) -> Config:
    """A tiny configuration, with `KEY=VALUE` settings and then dotted keys laid over it."""
    return resolve(settings=[*TINY, *settings, *(f"{key}={value}" for key, value in changes.items())])
