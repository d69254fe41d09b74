"""Where both apps of a run find its configuration: Flower's run config, or one environment variable."""

import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chord_fl.config import Config, make_config
from chord_fl.errors import ConfigError
from chord_fl.trees import Tree, overlay, read_toml

if TYPE_CHECKING:  # Flower takes most of a second to import: too long for commands that do without
    from flwr.app import Context

VARIABLE = "CHORD_FL_CONFIG"  # set by the adapter: Flower's in-process simulation carries no run config
_NOT_OURS = ("preset", "config", "out")  # keys of the run config that are not part of the configuration


def preset(name: str) -> Tree:
    """The tree of a named preset. Raises ConfigError, naming those there are."""
    return _named("preset", name)


def recipe(name: str) -> Tree:
    """The tree of a named recipe of CHORD's training. Raises ConfigError, naming those there are."""
    return _named("recipe", name)


def _named(kind: str, name: str) -> Tree:
    folder = resources.files("simulations") / f"{kind}s"
    known = sorted(Path(entry.name).stem for entry in folder.iterdir() if entry.name.endswith(".toml"))
    if name not in known:
        raise ConfigError(f"{kind} = {name!r}: unknown; allowed: {', '.join(known)}")
    return tomllib.loads((folder / f"{name}.toml").read_text())


def export(config: Config) -> None:
    """Make `config` the one that this process and those it starts will find."""
    os.environ[VARIABLE] = json.dumps(config.model_dump(exclude_none=True))


@contextmanager
def exported(config: Config) -> Iterator[None]:
    """`export` for as long as a run takes; afterwards the environment is as it was."""
    # Flower puts its path in front of PYTHONPATH with every run: after some hundred no process could be started
    before = {name: os.environ.get(name) for name in ("PYTHONPATH", VARIABLE)}
    export(config)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def config_of(context: "Context") -> Config:
    """The configuration of the run that `context` belongs to. Raises ConfigError."""
    if context.run_config:
        return from_run_config(context.run_config)
    if VARIABLE not in os.environ:
        raise ConfigError(f"neither a Flower run config nor {VARIABLE} says what to simulate")
    return make_config(json.loads(os.environ[VARIABLE]))


def from_run_config(run_config: Mapping[str, Any]) -> Config:
    """A preset, a TOML file (`config`) laid over it, and the other keys, dotted ("data.name"), over both.

    An empty text means: not given. Raises ConfigError.
    """
    given = {key: value for key, value in run_config.items() if value != ""}
    tree = preset(str(given.get("preset", "laptop")))
    file = Path(str(given["config"])) if "config" in given else None
    if file is not None:
        tree = merged(tree, read_file(file))
    return checked(tree, {key: value for key, value in given.items() if key not in _NOT_OURS}, file)


def checked(tree: Tree, changes: Mapping[str, Any], file: Path | None) -> Config:
    """`tree`, in which `file` lies, with dotted `changes` over it. Raises ConfigError, which names a file at fault."""
    try:
        return make_config(overlay(tree, changes))
    except ConfigError as error:
        if file is not None and _complaint(tree) == str(error):  # it is there without the changes
            raise ConfigError(f"config file {file}: {error}") from error
        raise


def _complaint(tree: Tree) -> str:
    try:
        make_config(tree)
    except ConfigError as error:
        return str(error)
    return ""


def read_file(path: Path) -> Tree:
    """A configuration file of the user's. Raises ConfigError."""
    try:
        return read_toml(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"config file {path}: {reason}") from error


def merged(base: Tree, top: Tree) -> Tree:
    """`base` with `top` laid over it, section by section; neither is modified."""
    result = dict(base)
    for key, value in top.items():
        under = result.get(key)
        result[key] = merged(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
    return result
