"""One run of a population, start to end: `chord-fl simulate` as a function, and what it leaves as tables."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from chord_fl.config import Config
from simulations import engine, prepare
from simulations.prepare import SILENT, Progress
from simulations.watch import Watch
from strategies.base import DeviceStrategy

Training = Callable[[Config, str], AbstractContextManager[Progress]]  # (configuration, method): around a training
Rounds = Callable[[DeviceStrategy], AbstractContextManager[Watch | None]]  # around the rounds; what sees the messages


@dataclass(frozen=True)
class Result:
    """What a run left in its folder, now or long ago. Files are read when they are asked for."""

    folder: Path

    @cached_property
    def summary(self) -> dict[str, Any]:
        """Every figure of the run, and its protocol; NaN for what was not measured."""
        figures: dict[str, Any] = json.loads((self.folder / "summary.json").read_text())
        return {key: float("nan") if value is None else value for key, value in figures.items()}

    @cached_property
    def rounds(self) -> pd.DataFrame:
        """A row per round."""
        return pd.read_csv(self.folder / "rounds.csv")

    @cached_property
    def devices(self) -> pd.DataFrame:
        """A row per device and round; columns as in docs/files.md."""
        return pd.read_parquet(self.folder / "devices.parquet")

    @cached_property
    def ledger(self) -> pd.DataFrame:
        """A row per message: payload and envelope in bytes."""
        return pd.read_parquet(self.folder / "ledger.parquet")


def simulate(
    config: Config,
    out: Path | str | None = None,
    *,
    training: Training = lambda config, method: nullcontext(SILENT),
    rounds: Rounds = lambda strategy: nullcontext(),
    verbose: bool = False,
) -> Result:
    """Train if there is no checkpoint for `config`, run its population on Ray, and return what that left in `out`.

    `out` is a folder without results of another run; without one it is `runs/TIME-STRATEGY`, as on the command line.
    The contexts that `training` and `rounds` make are around the two parts of the work: displays, for instance.
    `verbose` shows the engine's log. Raises ChordError, before any work if the configuration cannot work, or when most
    devices of a round fail; the rounds before that are in the folder.
    """
    devices = prepare.check(config).users
    prepare.check_checkpoint(config)
    folder = prepare.make_folder(
        prepare.default_folder(config.strategy_label) if out is None else Path(out).expanduser()
    )
    method = prepare.strategy_class(config).method
    with training(config, method) as progress:
        model = prepare.trained(config, method, progress)
    strategy = prepare.strategy(config, model, devices, folder, engine.nodes(config, devices))
    with rounds(strategy) as watch:
        engine.run(strategy, config, devices, verbose, watch)
    return Result(folder)
