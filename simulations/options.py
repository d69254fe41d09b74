"""The command line's flags: each is a key of the configuration, declared once for all commands."""

from pathlib import Path
from typing import Annotated, Any

import typer

from chord_fl.config import Config, make_config
from chord_fl.data.sources import NAMES
from chord_fl.errors import ConfigError
from chord_fl.models.backbones import BACKBONES
from chord_fl.trees import Tree, overlay
from simulations.settings import merged, read_file
from simulations.settings import preset as preset_tree
from simulations.settings import recipe as recipe_tree
from strategies import STRATEGIES

STRATEGY_NAMES, DATASETS = ", ".join(STRATEGIES), ", ".join(NAMES)
_RUN, _DATA, _MODEL, _TRAIN, _ENGINE = "What to run", "Data", "Model", "Training", "Simulation"
_LIFE, _WORLD = "Life", "Population, clock and faults"


def _flag(panel: str, text: str, *names: str) -> Any:
    return typer.Option(*names, help=text, rich_help_panel=panel, show_default=False)


Preset = Annotated[
    str | None, _flag(_RUN, "Preset to start from: laptop (default), thousands, commuters, budget-phones.")
]
ConfigFile = Annotated[
    Path | None, _flag(_RUN, "TOML file to start from, such as the config.toml of an earlier run.", "--config")
]
Set = Annotated[
    list[str] | None,
    _flag(_RUN, "Any key of the configuration, e.g. --set finetune.steps=10. May be repeated.", "--set", "-s"),
]
Out = Annotated[Path | None, _flag(_RUN, "Folder for the results. Default: runs/TIME-STRATEGY.")]
Verbose = Annotated[bool, _flag(_RUN, "Show the log of the engine.", "--verbose", "-v")]
Strategy = Annotated[
    str | None, _flag(_RUN, f"{STRATEGY_NAMES}, or MODULE:CLASS, a strategy of your own or Flower's. Default: chord.")
]
StrategyOption = Annotated[
    list[str] | None,
    _flag(_RUN, "Option of that class, KEY=VALUE; in compare LABEL.KEY=VALUE. May be repeated.", "--strategy-option"),
]
Seed = Annotated[int | None, _flag(_RUN, "Seed of everything random. Default: 0.")]
Dataset = Annotated[str | None, _flag(_DATA, f"{DATASETS}. Default: ml-100k.", "--dataset")]
Path_ = Annotated[str | None, _flag(_DATA, "A file: your own (csv), or the publisher's.", "--path")]
DataDir = Annotated[str | None, _flag(_DATA, "Where downloads are kept. Default: the user's cache directory.")]
Devices = Annotated[int | None, _flag(_DATA, "How many devices. Default: all users; 10,000 synthetic ones.")]
UserColumn = Annotated[str | None, _flag(_DATA, "Column of the users in a csv. Default: user.")]
ItemColumn = Annotated[str | None, _flag(_DATA, "Column of the items in a csv. Default: item.")]
TimeColumn = Annotated[str | None, _flag(_DATA, "Column of the times in a csv. Default: timestamp.")]
Core = Annotated[int | None, _flag(_DATA, "Least interactions per user and item. Default: 10.")]
Items = Annotated[int | None, _flag(_DATA, "Catalogue of the synthetic population. Default: 2,000.")]
Recipe = Annotated[
    str | None,
    _flag(_MODEL, "How CHORD is trained: chord (default), or paper, the paper read to the letter."),
]
Backbone = Annotated[str | None, _flag(_MODEL, f"{', '.join(BACKBONES)}. Default: sasrec.")]
Window = Annotated[int | None, _flag(_MODEL, "Recent items that the backbone sees. Default: the backbone's own.")]
History = Annotated[int | None, _flag(_MODEL, "Recent items that the profile sees. Default: 50.")]
Blocks = Annotated[int | None, _flag(_MODEL, "Transformer blocks. Default: 4.")]
Ladder = Annotated[str | None, _flag(_MODEL, "Bit-widths of the plan's four codes: 2-4-6-8 (default) or 2-5-6-7.")]
Beta = Annotated[float | None, _flag(_MODEL, "Share of channels in each upper tier, 0 to below 0.5. Default: 0.125.")]
Epochs = Annotated[int | None, _flag(_TRAIN, "Most epochs of training. Default: 20.")]
TrainUsers = Annotated[int | None, _flag(_TRAIN, "Users that the cloud trains on. Default: 5,000.")]
Device = Annotated[str | None, _flag(_TRAIN, "Where training runs: cpu (default) or cuda.")]
Checkpoint = Annotated[str | None, _flag(_TRAIN, "Folder of the checkpoint. Default: in the user's cache.")]
Rounds = Annotated[int | None, _flag(_ENGINE, "Rounds to simulate. Default: 1.")]
DevicesPerNode = Annotated[
    int | None, _flag(_ENGINE, "Devices that share a Flower node; 1 is the faithful, slow case. Default: automatic.")
]
Workers = Annotated[int | None, _flag(_ENGINE, "Processes that host devices. Default: one per processor core.")]
Candidates = Annotated[int | None, _flag(_ENGINE, "Items that a device ranks, below 100. Default: the full catalogue.")]
Seen = Annotated[str | None, _flag(_ENGINE, "Whether items of the history stay candidates: keep (default) or exclude.")]
Sessions = Annotated[
    int | None, _flag(_LIFE, "Last interactions of each user to replay, a round each. Default: 1, leave-one-out.")
]
Refresh = Annotated[
    str | None, _flag(_LIFE, "When a device asks for a new plan: always (default), once, every:K or cosine:X.")
]
Bits = Annotated[int | None, _flag(_ENGINE, "Bit-width of the static strategy: 2 to 8, or 32 (default).")]
Population = Annotated[
    str | None,
    _flag(_WORLD, "phones (default), budget-phones, commuters, or a CSV, Parquet or JSON file (docs/population.md)."),
]
Availability = Annotated[str | None, _flag(_WORLD, "Who is there when: always (default), diurnal, or a JSON file.")]
Constrain = Annotated[
    bool | None,
    typer.Option(
        "--constrain/--no-constrain",
        help="Whether budgets and states stop a device, under every strategy. Default: they do.",
        rich_help_panel=_WORLD,
        show_default=False,
    ),
]
Deadline = Annotated[float | None, _flag(_WORLD, "Modelled seconds that a round lasts at most. Default: none.")]
Interval = Annotated[float | None, _flag(_WORLD, "Least modelled seconds from round to round. Default: 0.")]
Dropout = Annotated[float | None, _flag(_WORLD, "Probability of a device to leave during a round. Default: 0.")]
Lost = Annotated[float | None, _flag(_WORLD, "Probability of a message to be lost. Default: 0.")]
Corrupted = Annotated[float | None, _flag(_WORLD, "Probability of a message to be damaged. Default: 0.")]

# flag -> key of the configuration
KEYS = {
    "strategy": "strategy",
    "seed": "seed",
    "dataset": "data.name",
    "path": "data.path",
    "data_dir": "data.data_dir",
    "devices": "data.devices",
    "user_column": "data.user_column",
    "item_column": "data.item_column",
    "time_column": "data.time_column",
    "core": "data.core",
    "items": "data.items",
    "backbone": "model.backbone",
    "window": "model.window",
    "history": "model.history",
    "blocks": "model.blocks",
    "ladder": "model.ladder",
    "beta": "model.beta",
    "epochs": "train.epochs",
    "train_users": "train.train_users",
    "device": "train.device",
    "checkpoint": "train.checkpoint",
    "rounds": "simulation.rounds",
    "devices_per_node": "simulation.devices_per_node",
    "workers": "simulation.workers",
    "candidates": "simulation.candidates",
    "seen": "simulation.seen",
    "bits": "static.bits",
    "population": "population.source",
    "availability": "population.availability",
    "constrain": "population.constrain",
    "deadline": "clock.deadline",
    "interval": "clock.interval",
    "dropout": "faults.dropout",
    "lost": "faults.lost",
    "corrupted": "faults.corrupted",
    "sessions": "life.sessions",
    "refresh": "life.refresh",
}


def resolve(
    preset: str | None = None,
    config: Path | None = None,
    settings: list[str] | None = None,
    recipe: str | None = None,
    strategy_option: list[str] | None = None,
    **flags: Any,
) -> Config:
    """The configuration: preset, file, recipe, `--set` and flags, each laid over those before. Raises ConfigError."""
    tree: Tree = preset_tree(preset or "laptop")
    if config is not None:
        # without --preset a file stands on the plain defaults: it is the whole configuration of some run
        tree = merged(tree if preset else {}, read_file(config))
    if recipe is not None:
        tree = merged(tree, recipe_tree(recipe))
    changes = dict(_assignment(text) for text in settings or [])
    if strategy_option:
        changes["strategy_options"] = dict(_assignment(text, "--strategy-option") for text in strategy_option)
    changes |= {KEYS[name]: value for name, value in flags.items() if value is not None}
    return make_config(overlay(tree, changes))


def _assignment(text: str, flag: str = "--set") -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals:
        example = "model.window=20" if flag == "--set" else "proximal_mu=0.1"
        raise ConfigError(f"{flag} {text}: expected KEY=VALUE, such as {example}")
    for kind in (int, float):
        try:
            return key.strip(), kind(value)
        except ValueError:
            continue
    return key.strip(), value.strip().strip("\"'")
