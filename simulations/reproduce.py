"""Runs what the experiments need and is not there yet, and collects what is: trainings first, then simulations.

A checkpoint is shared by its training key, a simulation by its configuration. Both are left alone once they are done,
and begun again where they were interrupted: a training after its last epoch, a simulation from its start.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from chord_fl.cloud import checkpoint
from chord_fl.cloud.validation import split
from chord_fl.config import ClockConfig, Config, FaultsConfig, LifeConfig, PopulationConfig, make_config
from chord_fl.data import dataset
from chord_fl.errors import ChordError
from chord_fl.trees import Tree, read_toml
from simulations import prepare
from simulations.experiments import Case, Experiment, changes
from simulations.locks import lock
from simulations.pool import Training, duration, epochs_done, train_all
from simulations.run import simulate as simulate_config

Make = Callable[[Mapping[str, Any]], Config]  # the user's configuration with dotted keys laid over it

# keys that a folder's name shows where they are not as usual, and what stands before the value
_SHOWN = {
    "model.window": "window",
    "model.ladder": "",
    "model.beta": "beta",
    "model.importance": "",
    "model.activation_bits": "activations",
    "simulation.bits_limit": "limit",
    "simulation.seen": "seen-",
    "population.source": "",
    "population.availability": "",
    "life.sessions": "sessions",
    "life.refresh": "",
}
_CHUNK = 1000  # users whose plans are made at once
SIMULATION_VERSION = 1  # raised whenever the same configuration and checkpoint would give other figures
# sections that came after runs were published, as those runs had them: one that says the same names no other run
_BEFORE: dict[str, Tree] = {
    "population": PopulationConfig(constrain=False).model_dump(),
    "clock": ClockConfig().model_dump(),
    "faults": FaultsConfig().model_dump(),
    "life": LifeConfig().model_dump(),
    "strategy_options": {},
}
# keys that change how fast or from where, and no figure; of the data `identity` tells the content
_NO_MATTER = {
    "data": {"path", "data_dir"},
    "train": {"device", "checkpoint"},
    "simulation": {"workers", "devices_per_node", "timeout"},
}

# keys of CHORD alone: a baseline is the same under every recipe
_OF_PLANS = {
    "model": {"importance", "standardised", "biases"},
    "train": {"hypernetwork_rate", "weight_scale", "temperature"},
}


@dataclass(frozen=True)
class Run:
    """A case of an experiment for one backbone and one seed."""

    case: Case
    config: Config

    @property
    def backbone(self) -> str:
        """Of the configuration."""
        return self.config.model.backbone

    @cached_property
    def method(self) -> str:
        """What its strategy calls the model that it needs."""
        return prepare.strategy_class(self.config).method

    @cached_property
    def learns(self) -> bool:
        """Whether that is a checkpoint."""
        return prepare.strategy_class(self.config).learns

    @cached_property
    def checkpoint(self) -> Path:
        """Where that is, or will be."""
        return prepare.checkpoint_folder(self.config, self.method)

    @cached_property
    def name(self) -> str:
        """Of the folder: what can be read, and a short hash of the configuration and its data."""
        tree = {"config": _essence(self.config), "data": self.config.data.identity(), "version": SIMULATION_VERSION}
        digest = hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()[:8]
        return f"{_readable(self.config, self.config.strategy, tuple(_SHOWN))}-{digest}"

    @property
    def training(self) -> Training | None:
        """The training that makes its checkpoint, if it needs one."""
        if not self.learns:
            return None
        trained = tuple(key for key in _SHOWN if key.startswith("model.") or key == "life.sessions")
        return Training(_readable(self.config, self.method, trained), self.config, self.method, self.checkpoint)

    def folder(self, runs: Path) -> Path:
        """Where its simulation leaves its files."""
        return runs / self.name


def runs_of(
    experiment: Experiment, backbones: Sequence[str], seeds: Iterable[int], make: Make, asked: Sequence[str] = ()
) -> list[Run]:
    """A run for each case, backbone and seed of an experiment; `asked` are the keys that the user set."""
    data = make({}).data.name
    return [
        Run(case, make(changes(case, data, backbone, seed, asked, experiment.usual)))
        for backbone in backbones
        for seed in seeds
        for case in experiment.cases
    ]


def is_done(run: Run, runs: Path) -> bool:
    """Whether its simulation was finished, under this configuration and with this checkpoint."""
    folder = run.folder(runs)
    try:
        summary = summary_of(run, runs)
        same = _essence(make_config(_BEFORE | read_toml(folder / "config.toml"))) == _essence(run.config)
    except (OSError, ValueError, ChordError):
        return False
    finished = summary["rounds"] == run.config.rounds
    return bool(same and finished and (not run.learns or Path(summary["checkpoint"]).name == run.checkpoint.name))


@dataclass(frozen=True)
class Todo:
    """What a list of experiments needs: distinct trainings and simulations, and which of them are done."""

    trainings: tuple[Training, ...]
    simulations: tuple[Run, ...]
    simulated: frozenset[str]  # names of runs

    @property
    def missing(self) -> list[Run]:
        """Simulations that have to be run."""
        return [run for run in self.simulations if run.name not in self.simulated]


def todo(experiments: Mapping[str, tuple[Experiment, list[Run]]], runs: Path) -> Todo:
    """What the experiments come to. A simulation that is done needs its checkpoint no more."""
    simulations: dict[str, Run] = {}
    trainings: dict[Path, Training] = {}
    for experiment, mine in experiments.values():
        for run in mine:
            if experiment.simulates:
                simulations.setdefault(run.name, run)
    simulated = frozenset(name for name, run in simulations.items() if is_done(run, runs))
    for experiment, mine in experiments.values():
        for run in mine:
            needed = not experiment.simulates or run.name not in simulated
            if needed and (training := run.training) is not None:
                trainings.setdefault(training.folder, training)
    return Todo(tuple(trainings.values()), tuple(simulations.values()), simulated)


def describe(plan: Todo) -> list[str]:
    """What would be done, a line each."""
    lines = [f"{len(plan.trainings)} trainings:"]
    lines += [f"  {_state(training):<22}{training.label}" for training in plan.trainings]
    done = len(plan.simulations) - len(plan.missing)
    lines.append(f"{len(plan.simulations)} simulations, {done} of them done:")
    return lines + [f"  {'done' if run.name in plan.simulated else 'to do':<22}{run.name}" for run in plan.simulations]


def carry_out(plan: Todo, runs: Path, jobs: int, console: Console, verbose: bool = False) -> dict[str, str]:
    """Train and simulate what is missing; returns what failed, and why, by a name that the user can read."""
    reasons = train_all(plan.trainings, jobs, console)
    failures = {training.label: reasons[training.folder] for training in plan.trainings if training.folder in reasons}
    return failures | _simulate_all(
        [run for run in plan.missing if run.checkpoint not in reasons], runs, console, verbose
    )


def _simulate_all(missing: Sequence[Run], runs: Path, console: Console, verbose: bool) -> dict[str, str]:
    if not missing:
        return {}
    failures: dict[str, str] = {}
    started, total = time.monotonic(), len(missing)
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn(), TextColumn("runs"))

    def on_wait(holder: str) -> None:
        console.print(f"Waiting for process {holder}, which simulates into the same folder.")

    with lock(runs / "simulations", on_wait), Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        bar = progress.add_task("simulating", total=total)
        for index, run in enumerate(missing, start=1):
            progress.update(bar, description=run.name.rpartition("-")[0])  # without the hash it fits a terminal
            if is_done(run, runs):  # meanwhile, by another process that held the lock
                continue
            began = time.monotonic()
            try:
                simulate(run, runs, verbose)
                outcome = duration(time.monotonic() - began)
            except Exception as error:  # whatever it was, the other runs go on
                reason = str(error) if isinstance(error, ChordError) else f"{type(error).__name__}: {error}"
                failures[run.name], outcome = reason, f"[red]failed[/]: {escape(reason)}"
            left = duration((time.monotonic() - started) / index * (total - index))
            progress.update(bar, completed=index)
            console.print(f"{index} of {total}  {run.name}: {outcome}; {left} left", soft_wrap=True)
    return failures


def simulate(run: Run, runs: Path, verbose: bool = False) -> None:
    """One simulation, from its start; what an earlier attempt left is removed."""
    folder = run.folder(runs)
    if folder.exists():
        shutil.rmtree(folder)
    try:
        simulate_config(run.config, folder, verbose=verbose)
    except BaseException:
        # finished rounds stay to be looked at, but are no result
        if (folder / "summary.json").exists():
            (folder / "summary.json").rename(folder / "summary-failed.json")
        raise


def collect(mine: Sequence[Run], runs: Path) -> pd.DataFrame:
    """A row per finished run: what it was, every figure of its summary, and its folder."""
    rows = []
    for run in mine:
        if is_done(run, runs):
            rows.append(_columns(run) | summary_of(run, runs) | _identity(run) | {"folder": run.folder(runs)})
    frame = pd.DataFrame(rows)
    if "average_bits" in frame:  # counts have none
        frame["average_bits"] = frame["average_bits"].replace(0.0, np.nan)
    return frame


def by_session(mine: Sequence[Run], runs: Path) -> pd.DataFrame:
    """The rows of rounds.csv of finished runs, a row per session."""
    parts = [
        pd.read_csv(run.folder(runs) / "rounds.csv").assign(**_identity(run)) for run in mine if is_done(run, runs)
    ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def curves(mine: Sequence[Run]) -> pd.DataFrame:
    """The training curves of finished trainings, a row per epoch; figures are of validation."""
    parts = []
    for run in mine:
        if is_trained(run):
            curve = pd.read_csv(run.checkpoint / checkpoint.CURVE_FILE)
            parts.append(curve.assign(**_identity(run)))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def plans(run: Run) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What a trained CHORD makes of all users' profiles at test time. Nothing is simulated.

    Two frames: `layer`, `share` (of users to whom that layer is the most critical), and of layer 0 `channel`,
    `mean_bits`, `sd_bits` (over users).
    """
    config = run.config
    known = dataset.load(config.data, config.seed)
    model: Any = prepare.trained(config, run.method).model
    layout, levels = model.spec.layout, torch.tensor(model.spec.levels)
    critical, bits = [], []
    for first in range(0, known.users, _CHUNK):
        users = known.slice(first, min(_CHUNK, known.users - first))
        history = split(users, 0, config.model.window, config.model.history).history
        with torch.inference_mode():
            profiles = model.encoder(history, model.backbone.items)
            critical.append(model.importance(profiles)[1].argmax(1))
            bits.append(levels[model.codes(profiles)[:, : layout.widths[0]].long()])
    counts = np.bincount(torch.cat(critical).numpy(), minlength=len(layout.layers))
    of_channels = torch.cat(bits).numpy()
    who = _identity(run)
    layers = pd.DataFrame({"layer": [layer.name for layer in layout.layers], "share": counts / known.users})
    channels = pd.DataFrame(
        {"channel": range(layout.widths[0]), "mean_bits": of_channels.mean(0), "sd_bits": of_channels.std(0)}
    )
    return layers.assign(**who), channels.assign(**who)


def is_finished(training: Training) -> bool:
    """Whether it ran to its end."""
    return checkpoint.is_finished(training.folder)


def training_seconds(folder: Path) -> float:
    """What a training took, all attempts together, validation left out."""
    return float(pd.read_csv(folder / checkpoint.CURVE_FILE)["seconds"].sum())


def summary_of(run: Run, runs: Path) -> dict[str, Any]:
    """The summary of a finished simulation."""
    summary: dict[str, Any] = json.loads((run.folder(runs) / "summary.json").read_text())
    return summary


def is_trained(run: Run) -> bool:
    """Whether the checkpoint that it needs is there, if it needs one."""
    return not run.learns or checkpoint.is_finished(run.checkpoint)


def _identity(run: Run) -> dict[str, Any]:
    """The columns that tell a run from the others of its experiment."""
    config = run.config
    first = {"dataset": config.data.name, "backbone": run.backbone, "method": run.case.label, "seed": config.seed}
    return {**first, **run.case.columns}


def _essence(config: Config) -> Tree:
    """What the figures of a run depend on."""
    tree = config.model_dump(exclude=_NO_MATTER)
    tree["population"] |= config.population.identity()
    if prepare.strategy_class(config).method != "chord":
        for section, keys in _OF_PLANS.items():
            tree[section] = {key: value for key, value in tree[section].items() if key not in keys}
    return {name: section for name, section in tree.items() if name not in _BEFORE or section != _BEFORE[name]}


def _columns(run: Run) -> dict[str, Any]:
    model = run.config.model
    return {"beta": model.beta, "ladder": model.ladder, "activation_bits": model.activation_bits}


def _state(training: Training) -> str:
    if is_finished(training):
        return "trained"
    epochs = epochs_done(training.folder)
    return f"begun ({epochs} epochs)" if epochs else "to do"


def _readable(config: Config, what: str, keys: Sequence[str]) -> str:
    usual, parts = make_config({"model": {"backbone": config.model.backbone}}), [config.model.backbone, what]
    for key in keys:
        section, _, name = key.partition(".")
        value = getattr(getattr(config, section), name)
        if value != getattr(getattr(usual, section), name):
            shown = Path(str(value)).name  # a file of the user's without its folder
            parts.append(f"{_SHOWN[key]}{shown}".replace(":", ""))
    return "-".join([*parts, f"seed{config.seed}"])
