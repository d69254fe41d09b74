"""Where both apps of a run find its configuration: Flower's run config, or one environment variable."""

import json
import os
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from flwr.app import Context

from chord_fl.config import Config, Tree, make_config, overlay
from chord_fl.errors import ConfigError

VARIABLE = "CHORD_FL_CONFIG"  # set by the adapter: Flower's in-process simulation carries no run config
_NOT_OURS = ("preset", "out")  # keys of the run config that are not part of the configuration


def preset(name: str) -> Tree:
    """The tree of a named preset. Raises ConfigError, naming those there are."""
    folder = resources.files("simulations") / "presets"
    known = sorted(Path(entry.name).stem for entry in folder.iterdir() if entry.name.endswith(".toml"))
    if name not in known:
        raise ConfigError(f"preset = {name!r}: unknown; allowed: {', '.join(known)}")
    return tomllib.loads((folder / f"{name}.toml").read_text())


def export(config: Config) -> None:
    """Make `config` the one that this process and those it starts will find."""
    os.environ[VARIABLE] = json.dumps(config.model_dump(exclude_none=True))


def config_of(context: Context) -> Config:
    """The configuration of the run that `context` belongs to. Raises ConfigError."""
    if context.run_config:
        return from_run_config(context.run_config)
    if VARIABLE not in os.environ:
        raise ConfigError(f"neither a Flower run config nor {VARIABLE} says what to simulate")
    return make_config(json.loads(os.environ[VARIABLE]))


def from_run_config(run_config: Mapping[str, Any]) -> Config:
    """A preset with the other keys, dotted ("data.name"), laid over it. An empty text means: as in the preset."""
    changes = {key: value for key, value in run_config.items() if key not in _NOT_OURS and value != ""}
    return make_config(overlay(preset(str(run_config.get("preset", "laptop"))), changes))
