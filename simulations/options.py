"""The command line's flags: each is a key of the configuration, declared once for all commands."""

import inspect
from collections.abc import Callable, Mapping
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from chord_fl.config import Config
from chord_fl.data.sources import NAMES
from chord_fl.errors import ConfigError
from chord_fl.models.backbones import BACKBONES
from chord_fl.trees import Tree
from simulations.settings import checked, merged, read_file
from simulations.settings import preset as preset_tree
from simulations.settings import recipe as recipe_tree
from strategies import STRATEGIES

STRATEGY_NAMES, DATASETS = ", ".join(STRATEGIES), ", ".join(NAMES)
RUN, OUTPUT = "What to run", "What to show and keep"
_DATA, _MODEL, _TRAIN, _ENGINE = "Data", "Model", "Training", "Simulation"
_WORLD, _BUDGETS, _LIFE = "Population, clock and faults", "Budgets", "Life"
PANELS = (RUN, OUTPUT, _DATA, _MODEL, _TRAIN, _ENGINE, _WORLD, _BUDGETS, _LIFE)  # in the order of the help page

Command = TypeVar("Command", bound=Callable[..., None])


def _flag(panel: str, text: str, *names: str) -> Any:
    return typer.Option(*names, help=text, rich_help_panel=panel, show_default=False)


Preset = Annotated[
    str | None,
    _flag(
        RUN,
        "laptop (default): MovieLens-100K; thousands: 10,000 synthetic devices; commuters: metered, on the move, six "
        "sessions; budget-phones: little memory, slow links, four rounds.",
    ),
]
ConfigFile = Annotated[
    Path | None, _flag(RUN, "TOML file to start from, such as the config.toml of a run. Default: none.", "--config")
]
Set = Annotated[
    list[str] | None,
    _flag(RUN, "Any key of the configuration: --set finetune.steps=10. Repeatable. Default: none.", "--set", "-s"),
]
Out = Annotated[
    Path | None, _flag(OUTPUT, "Folder for the results; a new one. Default: runs/TIME-STRATEGY or runs/TIME-compare.")
]
Track = Annotated[
    str | None,
    _flag(OUTPUT, "Follow training and rounds: tensorboard, or MODULE:NAME (docs/tracking.md). Default: neither."),
]
Json = Annotated[bool, _flag(OUTPUT, "Print the result as one JSON document. Default: as a table.", "--json")]
Quiet = Annotated[bool, _flag(OUTPUT, "Show no progress, only the result. Default: progress.", "--quiet", "-q")]
Verbose = Annotated[bool, _flag(OUTPUT, "Show the log of the engine as well. Default: hidden.", "--verbose", "-v")]
Strategy = Annotated[
    str | None, _flag(RUN, f"{STRATEGY_NAMES}, or MODULE:CLASS, a strategy of your own or Flower's. Default: chord.")
]
StrategyOption = Annotated[
    list[str] | None,
    _flag(
        RUN,
        "Option of that class, KEY=VALUE; in compare LABEL.KEY=VALUE. Repeatable. Default: none.",
        "--strategy-option",
    ),
]
Seed = Annotated[int | None, _flag(RUN, "Seed of everything random, 0 or more. Default: 0.")]
Dataset = Annotated[str | None, _flag(_DATA, f"{DATASETS}. Default: ml-100k.", "--dataset")]
Path_ = Annotated[
    str | None, _flag(_DATA, "A file: your own (csv), or the publisher's. Default: downloaded.", "--path")
]
DataDir = Annotated[str | None, _flag(_DATA, "Where downloads are kept. Default: the user's cache directory.")]
Devices = Annotated[int | None, _flag(_DATA, "How many devices, 1 or more. Default: all users; 10,000 synthetic ones.")]
UserColumn = Annotated[str | None, _flag(_DATA, "Column of the users in a csv. Default: user.")]
ItemColumn = Annotated[str | None, _flag(_DATA, "Column of the items in a csv. Default: item.")]
TimeColumn = Annotated[str | None, _flag(_DATA, "Column of the times in a csv. Default: timestamp.")]
Core = Annotated[int | None, _flag(_DATA, "Least interactions per user and item, 1 to 1,000. Default: 10.")]
Items = Annotated[int | None, _flag(_DATA, "Catalogue of the synthetic population, 20 to 1,000,000. Default: 2,000.")]
Recipe = Annotated[
    str | None,
    _flag(_MODEL, "How CHORD is trained: chord (default), or paper, the paper read to the letter."),
]
Backbone = Annotated[str | None, _flag(_MODEL, f"{', '.join(BACKBONES)}. Default: sasrec.")]
Window = Annotated[int | None, _flag(_MODEL, "Recent items that the backbone sees, 1 to 1,000. Default: 10; Caser 20.")]
History = Annotated[int | None, _flag(_MODEL, "Recent items that the profile sees, 1 to 1,000. Default: 50.")]
Blocks = Annotated[int | None, _flag(_MODEL, "Transformer blocks, 1 to 64. Default: 4.")]
Ladder = Annotated[str | None, _flag(_MODEL, "Bit-widths of the plan's four codes: 2-4-6-8 (default) or 2-5-6-7.")]
Beta = Annotated[float | None, _flag(_MODEL, "Share of channels in each upper tier, 0 to below 0.5. Default: 0.125.")]
Epochs = Annotated[int | None, _flag(_TRAIN, "Most epochs of training, 1 or more. Default: 20.")]
TrainUsers = Annotated[int | None, _flag(_TRAIN, "Users that the cloud trains on at most, 2 or more. Default: 5,000.")]
Device = Annotated[str | None, _flag(_TRAIN, "Where training runs: cpu (default), cuda or cuda:N.")]
Checkpoint = Annotated[str | None, _flag(_TRAIN, "Folder of the checkpoint. Default: in the user's cache.")]
Rounds = Annotated[int | None, _flag(_ENGINE, "Rounds to simulate, 1 or more. Default: 1.")]
DevicesPerNode = Annotated[
    int | None, _flag(_ENGINE, "Devices that share a Flower node, 1 (faithful, slow) or more. Default: automatic.")
]
Workers = Annotated[
    int | None, _flag(_ENGINE, "Processes that host devices, 1 to 1,024. Default: one per processor core.")
]
Candidates = Annotated[int | None, _flag(_ENGINE, "Items that a device ranks, 1 to 99. Default: the full catalogue.")]
Seen = Annotated[str | None, _flag(_ENGINE, "Whether items of the history stay candidates: keep (default) or exclude.")]
Sessions = Annotated[
    int | None,
    _flag(_LIFE, "Last interactions of each user to replay, a round each, 1 to 1,000. Default: 1, leave-one-out."),
]
Refresh = Annotated[
    str | None, _flag(_LIFE, "When a device asks for a new plan: always (default), once, every:K or cosine:X.")
]
Bits = Annotated[int | None, _flag(RUN, "Bit-width of static, and of it alone: 2 to 8, or 32 (default).")]
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
        rich_help_panel=_BUDGETS,
        show_default=False,
    ),
]
Deadline = Annotated[
    float | None, _flag(_WORLD, "Modelled seconds that a round lasts at most, above 0. Default: none.")
]
Interval = Annotated[float | None, _flag(_WORLD, "Least modelled seconds from round to round, 0 or more. Default: 0.")]
Dropout = Annotated[float | None, _flag(_WORLD, "Probability of a device to leave during a round, 0 to 1. Default: 0.")]
Lost = Annotated[float | None, _flag(_WORLD, "Probability of a message to be lost, 0 to 1. Default: 0.")]
Corrupted = Annotated[float | None, _flag(_WORLD, "Probability of a message to be damaged, 0 to 1. Default: 0.")]

# --- what commands have in common: parameter -> its type and option --------------------------------------------------

SOURCE = {
    "path": Path_,
    "data_dir": DataDir,
    "devices": Devices,
    "user_column": UserColumn,
    "item_column": ItemColumn,
    "time_column": TimeColumn,
    "core": Core,
    "items": Items,
}
TRAINING = {
    "preset": Preset,
    "config": ConfigFile,
    "settings": Set,
    "strategy": Strategy,
    "strategy_option": StrategyOption,
    "seed": Seed,
    "dataset": Dataset,
    **{name: flag for name, flag in SOURCE.items() if name != "devices"},
    "recipe": Recipe,
    "backbone": Backbone,
    "window": Window,
    "history": History,
    "blocks": Blocks,
    "ladder": Ladder,
    "beta": Beta,
    "epochs": Epochs,
    "train_users": TrainUsers,
    "device": Device,
    "checkpoint": Checkpoint,
    "sessions": Sessions,
}
SIMULATION = {
    **TRAINING,
    "devices": Devices,
    "rounds": Rounds,
    "devices_per_node": DevicesPerNode,
    "workers": Workers,
    "candidates": Candidates,
    "seen": Seen,
    "bits": Bits,
    "population": Population,
    "availability": Availability,
    "deadline": Deadline,
    "interval": Interval,
    "dropout": Dropout,
    "lost": Lost,
    "corrupted": Corrupted,
    "constrain": Constrain,
    "refresh": Refresh,
}


def takes(flags: Mapping[str, Any]) -> Callable[[Command], Command]:
    """Give a command `flags` in place of its `**flags`, all of them None where they are not given.

    Typer reads a command's signature, which this writes once for several of them. Options stand in the order of their
    panels; a command's own come after those of `flags` in the same panel.
    """

    def decorate(command: Command) -> Command:
        own = [p for p in inspect.signature(command).parameters.values() if p.kind is not Parameter.VAR_KEYWORD]
        shared = [
            Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=flag) for name, flag in flags.items()
        ]
        positional = [p for p in own if p.kind is not Parameter.KEYWORD_ONLY]
        named = sorted([*shared, *(p for p in own if p.kind is Parameter.KEYWORD_ONLY)], key=_panel)
        everything: Any = command
        everything.__signature__ = inspect.Signature([*positional, *named])
        everything.__annotations__ = {p.name: p.annotation for p in (*positional, *named)}
        return command

    return decorate


def _panel(parameter: Parameter) -> int:
    option = parameter.annotation.__metadata__[0]
    return PANELS.index(option.rich_help_panel)


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
    return checked(tree, changes, config)


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
