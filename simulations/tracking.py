"""Trackers: whoever wants the figures of trainings and rounds as they come. TensorBoard is one, the user's own another.

docs/tracking.md shows the protocol with an example.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from numbers import Real
from pathlib import Path
from typing import Any, Protocol, cast

from chord_fl.cloud.training import Epoch
from chord_fl.config import Config
from chord_fl.errors import ConfigError
from chord_fl.imports import described, imported_for_user
from simulations.prepare import Progress

_METHODS = ("start", "log", "close")
_NAMED = {"tensorboard": "simulations.tensorboard:TensorBoard"}


class Tracker(Protocol):
    """What `--track MODULE:NAME` makes, by calling NAME without arguments: one for every run."""

    def start(self, config: Mapping[str, Any], folder: Path) -> None:
        """A run begins: its whole configuration, as in config.toml, and the folder for its results."""

    def log(self, kind: str, step: int, figures: Mapping[str, float]) -> None:
        """Figures of an epoch (`kind` "training", as in training.csv) or a round ("round", as in rounds.csv).

        Steps count from 1. Only numbers that were measured are there: no texts, no NaN.
        """

    def close(self) -> None:
        """The run is over, however it ended."""


class Follower:
    """A tracker that cannot harm the run: at its first error the user is warned, and it gets nothing more."""

    def __init__(self, tracker: Tracker | None, name: str, warn: Callable[[str], None]) -> None:
        self._tracker, self._name, self._warn = tracker, name, warn

    @contextmanager
    def following(self, config: Config, folder: Path) -> Iterator["Follower"]:
        """From the start to the end of a run."""
        self._call("start", config.model_dump(exclude_none=True), folder)
        try:
            yield self
        finally:
            self._call("close")

    def training(self, progress: Progress) -> Progress:
        """`progress`, with every epoch logged as well."""

        def on_epoch(epoch: Epoch) -> None:
            progress.on_epoch(epoch)
            self._log("training", epoch.epoch, epoch.row(), without=("epoch", "best"))

        return replace(progress, on_epoch=on_epoch)

    def round(self, row: Mapping[str, Any]) -> None:
        """Log a row of rounds.csv."""
        self._log("round", int(row["round"]), row, without=("round",))

    def _log(self, kind: str, step: int, row: Mapping[str, Any], without: tuple[str, ...]) -> None:
        figures = {name: float(value) for name, value in row.items() if name not in without and _is_figure(value)}
        self._call("log", kind, step, figures)

    def _call(self, method: str, *arguments: Any) -> None:
        if self._tracker is None:
            return
        try:
            getattr(self._tracker, method)(*arguments)
        except Exception as error:  # whatever it was, the run is worth more
            self._tracker = None
            reason = f"{method} failed ({type(error).__name__}: {error})"
            self._warn(f"--track {self._name}: {reason}; the run goes on without it")


def follower(name: str | None, warn: Callable[[str], None]) -> Follower:
    """The tracker that `--track` names, ready for one run; one that does nothing where it names none.

    Raises ConfigError for what cannot be imported or made, or lacks a method.
    """
    if name is None:
        return Follower(None, "", warn)
    place = _NAMED.get(name, name)
    if not place.partition(":")[2]:
        raise ConfigError(f"--track {name}: expected {', '.join(_NAMED)} or MODULE:NAME, such as my_module:my_tracker")
    kind = imported_for_user(place, f"--track {name}")
    try:
        made = kind()
    except Exception as error:  # anything may go wrong in a class of the user's
        raise ConfigError(f"--track {name}: {described(error)}") from error
    for method in _METHODS:
        if not callable(getattr(made, method, None)):
            raise ConfigError(f"--track {name}: has no method {method}; a tracker has {', '.join(_METHODS)}")
    return Follower(cast(Tracker, made), name, warn)


def _is_figure(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and value == value
