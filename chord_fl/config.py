"""The whole configuration of a run, checked before any work starts.

Sections are frozen pydantic models, read from TOML and from command-line flags. `training_key` names what a checkpoint
depends on: two runs that agree on it share the checkpoint.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from chord_fl.data.identity import sha256
from chord_fl.data.sources import NAMES, SOURCES
from chord_fl.errors import ConfigError
from chord_fl.models.backbones import BACKBONES
from chord_fl.trees import Tree
from chord_fl.tuning import tuned

# of a backbone; raised whenever the same configuration would train another model: old checkpoints are left alone
TRAINING_VERSION = {"sasrec": 3, "caser": 4}
_MESSAGE_BYTES = 65_520  # payload of the longest message (chord_fl.wire.frame)

Ladder = Literal["2-4-6-8", "2-5-6-7"]
# keys of `model` that CHORD alone has
_OF_PLANS = ("history", "ladder", "beta", "importance", "standardised", "biases")


# keys of the section population: names, and the endings of the user's own files
_WORLD = {
    "source": (("phones", "budget-phones", "commuters"), (".csv", ".parquet", ".json")),
    "availability": (("always", "diurnal"), (".json",)),
}


def _one_of(key: str, value: str, allowed: Sequence[str]) -> str:
    """`value` if it is allowed; the lists are those of dicts, so that a line there is all that a new name takes."""
    if value not in allowed:
        *others, last = map(repr, allowed)
        raise ValueError(f"{key} = {value!r}: input should be {', '.join(others)} or {last}")
    return value


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DataConfig(_Section):
    """Who did what, when."""

    name: str = Field("ml-100k", description="of chord_fl.data.sources")
    path: str | None = Field(None, description="file of the user's own; required for amazon-cd, yelp and csv")
    data_dir: str | None = Field(None, description="where downloads are kept; the user's cache directory if unset")
    user_column: str = "user"
    item_column: str = "item"
    time_column: str = "timestamp"
    core: Annotated[int, Field(ge=1, le=1000)] = 10
    devices: Annotated[int, Field(ge=1, le=10_000_000)] | None = Field(
        None, description="devices to simulate; all users of a data set, 10,000 of a synthetic population if unset"
    )
    items: Annotated[int, Field(ge=20, le=1_000_000)] = Field(2000, description="catalogue of the synthetic population")
    taste: Literal["drifting", "hidden"] = Field("drifting", description="of synthetic users; see docs/data.md")

    def identity(self) -> Tree:
        """What tells this data set from others: of a file its content, wherever it lies."""
        if self.name in SOURCES:
            return {"name": self.name, "core": self.core, **SOURCES[self.name].identity(self)}
        if self.name != "synthetic":
            return {"name": self.name}
        hidden = {"taste": self.taste} if self.taste == "hidden" else {}
        return {"name": self.name, "items": self.items, **hidden}

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        return _one_of("data.name", name, NAMES)

    @field_validator("path", "data_dir")
    @classmethod
    def _absolute(cls, path: str | None) -> str | None:
        # a run's config.toml must mean the same file from any folder
        return None if path is None else str(Path(path).expanduser().absolute())

    @model_validator(mode="after")
    def _file_needs_a_path(self) -> "DataConfig":
        obtain = SOURCES[self.name].obtain if self.name in SOURCES else None
        if obtain is not None and self.path is None:
            raise ValueError(f"data.path is required when data.name is {self.name}{obtain}")
        return self


class ModelConfig(_Section):
    """The backbone, what it sees, and how its channels are quantised."""

    backbone: str = Field("sasrec", description="of chord_fl.models.backbones")
    blocks: Annotated[int, Field(ge=1, le=64)] = Field(4, description="of a backbone that has blocks: of SASRec")
    dim: Annotated[int, Field(ge=4, le=1024)] = 64
    window: Annotated[int, Field(ge=1, le=1000)] = Field(
        10, description="recent items that the backbone sees; as many as its own default if unset"
    )
    history: Annotated[int, Field(ge=1, le=1000)] = Field(50, description="recent items that the profile sees")
    ladder: Ladder = "2-4-6-8"
    beta: Annotated[float, Field(ge=0, lt=0.5)] = Field(0.125, description="share of channels in each upper tier")
    importance: Literal["filter", "element", "layer"] = Field(
        "layer", description="how much of the importance makes the plan; each level adds to those before it"
    )
    activation_bits: Literal[2, 3, 4, 5, 6, 7, 8, 32] = Field(32, description="of the inputs of frozen layers")
    standardised: bool = Field(True, description="whether importance is standardised across users")
    biases: Literal["shared", "switchable"] = Field(
        "switchable", description="of CHORD: a bias per channel, or one for each of the channel's bit-widths"
    )

    @model_validator(mode="before")
    @classmethod
    def _window_of_the_backbone(cls, tree: Any) -> Any:
        if isinstance(tree, dict) and tree.get("window") is None:
            found = BACKBONES.get(str(tree.get("backbone", "sasrec")))
            return {**tree, "window": found.window if found else 10}
        return tree

    @field_validator("backbone")
    @classmethod
    def _known(cls, backbone: str) -> str:
        return _one_of("model.backbone", backbone, tuple(BACKBONES))

    @property
    def levels(self) -> tuple[int, int, int, int]:
        """The four bit-widths that the codes 0..3 stand for."""
        a, b, c, d = (int(width) for width in self.ladder.split("-"))
        return a, b, c, d


class TrainConfig(_Section):
    """Training on the cloud. None of this was chosen on a test item."""

    train_users: Annotated[int, Field(ge=2, le=10_000_000)] = Field(5000, description="users that the cloud trains on")
    epochs: Annotated[int, Field(ge=1, le=100_000)] = 20
    patience: Annotated[int, Field(ge=1, le=100_000)] = Field(8, description="epochs without a better validation")
    batch_size: Annotated[int, Field(ge=2, le=65536)] = Field(64, description="cut sequences per step")
    learning_rate: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None, description="as tuned for backbone and method (chord_fl.tuning) if unset"
    )
    hypernetwork_rate: Annotated[float, Field(gt=0, le=1000)] = Field(10.0, description="times the learning rate")
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = Field(None, description="as tuned if unset")
    weight_scale: Annotated[float, Field(gt=0, le=100)] = Field(1.0, description="frozen weights, times Xavier's")
    temperature: Annotated[float, Field(gt=0, le=100)] = Field(0.3, description="of the straight-through estimator")
    device: Annotated[str, Field(pattern=r"^(cpu|cuda(:\d+)?)$")] = Field("cpu", description="cpu or cuda")
    checkpoint: str | None = Field(None, description="folder of the checkpoint; in the user's cache if unset")


class SimulationConfig(_Section):
    """Rounds, and how the engine runs them. Only speed depends on the number of workers and devices per node."""

    rounds: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    devices_per_node: Annotated[int, Field(ge=0, le=10_000_000)] = Field(0, description="0 chooses cohorts by itself")
    workers: Annotated[int, Field(ge=0, le=1024)] = Field(0, description="processes; 0 for one per processor core")
    candidates: Annotated[int, Field(ge=0, lt=100)] = Field(0, description="items to rank; 0 for the full catalogue")
    seen: Literal["keep", "exclude"] = Field("keep", description="whether items of the history remain candidates")
    profile_format: Literal["float32", "float16", "int8"] = "float16"
    timeout: Annotated[float, Field(gt=0)] = Field(3600.0, description="seconds to wait for a round's replies")
    bits_limit: Annotated[float, Field(ge=2, le=8)] | None = Field(
        None, description="average bits that no device exceeds: it lowers its plan further (the paper's Table 6)"
    )


Probability = Annotated[float, Field(ge=0, le=1)]
Amount = Annotated[float, Field(ge=0)]
Rate = Annotated[float, Field(gt=0)]


class PopulationConfig(_Section):
    """Which phones are simulated, who of them is there when, and whether what they lack binds."""

    source: str = Field("phones", description="phones, budget-phones, commuters, or a CSV, Parquet or JSON file")
    availability: str = Field("always", description="always, diurnal, or a JSON file of FedScale's traces")
    constrain: bool = Field(
        True, description="whether budgets and states bind every method; false compares methods as the paper does"
    )

    @field_validator("source", "availability")
    @classmethod
    def _known_or_a_file(cls, value: str, info: ValidationInfo) -> str:
        names, endings = _WORLD[str(info.field_name)]
        if value in names:
            return value
        if Path(value).suffix.lower() not in endings:
            allowed = f"{', '.join(names)}, or a file that ends in {', '.join(endings)}"
            raise ValueError(f"population.{info.field_name} = {value!r}: allowed: {allowed}")
        return str(Path(value).expanduser().absolute())

    def identity(self) -> Tree:
        """What tells this population from others: of a file its content, wherever it lies."""
        return {
            name: value if value in names else sha256(Path(value))
            for name, (names, _) in _WORLD.items()
            for value in [getattr(self, name)]
        }


class ClockConfig(_Section):
    """The virtual clock: when rounds end, and the constants by which exchanges cost seconds and joules.

    Where each constant comes from stands in docs/population.md; many are assumptions, and marked there.
    """

    deadline: Rate | None = Field(None, description="seconds that a round lasts at most; who is later does not count")
    interval: Amount = Field(0.0, description="least seconds between the starts of two rounds")
    cost: Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")] = Field(
        "chord_fl.device.clock:cost", description="MODULE:FUNCTION that models an exchange"
    )
    round_trips: Amount = Field(3.0, description="of a connection: TCP, TLS 1.3, and the request itself")
    wifi_latency: Amount = Field(0.03, description="seconds of a round trip, unmetered")
    cellular_latency: Amount = Field(0.07, description="seconds of a round trip, metered")
    operations_per_score: Rate = Field(1e6, description="operations per second of a processor, per point of score")
    busy_share: Annotated[float, Field(gt=0, le=1)] = Field(0.5, description="of a busy processor, what is left")
    memory_bandwidth: Rate = Field(5e9, description="bytes per second at which weights are read")
    processor_watts: Amount = Field(2.0, description="of a core at work")
    memory_joules: Amount = Field(160e-12, description="per byte of weights read")
    wifi_watts: Amount = Field(0.13286, description="of the radio while it transfers")
    wifi_joules_down: Amount = Field(1.09608e-6, description="per byte, on top of that")
    wifi_joules_up: Amount = Field(2.26536e-6, description="per byte, on top of that")
    cellular_watts: Amount = Field(1.28804, description="of the radio while it transfers")
    cellular_joules_down: Amount = Field(4.1576e-7, description="per byte, on top of that")
    cellular_joules_up: Amount = Field(3.50712e-6, description="per byte, on top of that")
    cellular_tail: Amount = Field(12.27, description="joules that the radio takes to fall asleep after a transfer")


class FaultsConfig(_Section):
    """What goes wrong, per device and round. Nothing unless told."""

    dropout: Probability = Field(0.0, description="of leaving during a round")
    lost: Probability = Field(0.0, description="of a profile, and of an answer, to be lost on its way")
    corrupted: Probability = Field(0.0, description="of a profile, and of an answer, to be damaged on its way")
    battery: Probability = Field(0.0, description="of a battery below 20 %, not charging, to die during a round")

    @model_validator(mode="after")
    def _one_fate(self) -> "FaultsConfig":
        if self.lost + self.corrupted > 1:
            raise ValueError(f"faults.lost + faults.corrupted = {self.lost + self.corrupted:g}: at most 1")
        return self


class StaticConfig(_Section):
    """The full-precision cloud model, shipped once as it is or quantised after training."""

    bits: Literal[2, 3, 4, 5, 6, 7, 8, 32] = 32


class FinetuneConfig(_Section):
    """The same model, fine-tuned on every device with its own history."""

    steps: Annotated[int, Field(ge=1, le=10_000)] = 5
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 0.01


class LifeConfig(_Section):
    """Time as devices live it: how many sessions, and when a device asks for a new plan."""

    sessions: Annotated[int, Field(ge=1, le=1000)] = Field(
        1, description="last interactions of each user to replay, a round each; 1 is leave-one-out"
    )
    refresh: str = Field("always", description="when a device asks for a plan: always, once, every:K or cosine:X")

    @field_validator("refresh")
    @classmethod
    def _can_be_read(cls, refresh: str) -> str:
        refresh_rule(refresh)
        return refresh


def refresh_rule(refresh: str) -> tuple[Literal["always", "once", "every", "cosine"], float]:
    """`life.refresh` as a word and its number: sessions for "every", a cosine distance for "cosine", else 0.

    Raises ValueError for anything else.
    """
    kind, colon, text = refresh.partition(":")
    if kind == "every" and text.isdecimal() and int(text) >= 1:
        return "every", int(text)
    if kind == "cosine":
        with suppress(ValueError):
            if 0 <= float(text) <= 2:
                return "cosine", float(text)
    if kind in ("always", "once") and not colon:
        return ("always" if kind == "always" else "once"), 0.0
    allowed = "always, once, every:K (K sessions, at least 1) or cosine:X (a distance from 0 to 2)"
    raise ValueError(f"life.refresh = {refresh!r}: allowed are {allowed}")


class Config(_Section):
    """Everything that a run depends on."""

    strategy: str = Field("chord", description="a name, or MODULE:CLASS of a strategy of one's own or of Flower's")
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    simulation: SimulationConfig = SimulationConfig()
    population: PopulationConfig = PopulationConfig()
    clock: ClockConfig = ClockConfig()
    faults: FaultsConfig = FaultsConfig()
    static: StaticConfig = StaticConfig()
    finetune: FinetuneConfig = FinetuneConfig()
    life: LifeConfig = LifeConfig()
    strategy_options: dict[str, bool | int | float | str] = Field({}, description="of the class that `strategy` names")

    @model_validator(mode="after")
    def _fits_the_wire(self) -> "Config":
        """A message holds 64 KiB: a plan's 2 bits per channel, or the embeddings of a session's candidates."""
        model, candidates = self.model, self.simulation.candidates
        if 4 * candidates * (model.dim + 1) > _MESSAGE_BYTES:
            most = _MESSAGE_BYTES // (4 * (model.dim + 1))
            raise ValueError(
                f"simulation.candidates = {candidates}: at most {most} of model.dim {model.dim} fit a message"
            )
        if model.backbone == "sasrec" and 5 * model.blocks * model.dim > 4 * _MESSAGE_BYTES:
            raise ValueError(f"model.blocks = {model.blocks} of model.dim {model.dim}: too many channels for a message")
        return self

    @model_validator(mode="after")
    def _a_round_is_a_session(self) -> "Config":
        rounds, sessions = self.simulation.rounds, self.life.sessions
        if sessions > 1 and rounds not in (1, sessions):
            raise ValueError(f"simulation.rounds = {rounds}: a round is a session, and life.sessions is {sessions}")
        return self

    def __hash__(self) -> int:
        return hash(self.model_dump_json())  # options are a dict, which has no hash of its own

    @property
    def strategy_label(self) -> str:
        """What tables and folders call the strategy: its name, or that of its class."""
        return self.strategy.rpartition(":")[2]

    @property
    def rounds(self) -> int:
        """Rounds of the run: one per session, or as many as asked for of a single one."""
        return max(self.simulation.rounds, self.life.sessions)

    def rates(self, method: str) -> tuple[float, float]:
        """Learning rate and dropout for `method`: as given, or as they were tuned."""
        rate, dropout = tuned(self.model.backbone, method, self.model.window)
        train = self.train
        return train.learning_rate or rate, dropout if train.dropout is None else train.dropout

    def training_view(self, method: str) -> Tree:
        """What the checkpoint of `method` ("chord", "full" or a baseline's name) depends on, and nothing else."""
        data = self.data.identity()
        model = self.model.model_dump(exclude=set() if BACKBONES[self.model.backbone].blocks else {"blocks"})
        train = self.train.model_dump(exclude={"device", "checkpoint"})
        train["learning_rate"], train["dropout"] = self.rates(method)
        if method != "chord":  # no plans, hence none of what makes them
            model = {k: v for k, v in model.items() if k not in _OF_PLANS}
            train = {k: v for k, v in train.items() if k not in ("hypernetwork_rate", "weight_scale", "temperature")}
        view: Tree = {"method": method, "version": TRAINING_VERSION.get(self.model.backbone, 1), "seed": self.seed}
        if self.life.sessions > 1:  # the items of all sessions are kept from training
            view["sessions"] = self.life.sessions
        return {**view, "data": data, "model": model, "train": train}

    def training_key(self, method: str) -> str:
        """A short name for `training_view`: runs that agree on it share a checkpoint."""
        view = json.dumps(self.training_view(method), sort_keys=True)
        return f"{self.data.name}-{method}-{hashlib.sha256(view.encode()).hexdigest()[:12]}"


def make_config(tree: Mapping[str, Any]) -> Config:
    """Check a configuration tree. Raises ConfigError: one line with key, value and what is allowed."""
    try:
        return Config.model_validate(dict(tree))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise ConfigError(f"{key}: unknown key; {_known_keys(first['loc'][:-1])}") from error
        message = first["msg"].removeprefix("Value error, ")
        where = "" if first["type"] == "value_error" else f"{key} = {first['input']!r}: "  # ours name their keys
        raise ConfigError(where + message[0].lower() + message[1:]) from error


def _known_keys(location: tuple[int | str, ...]) -> str:
    section: Any = Config
    for part in location:
        section = section.model_fields[str(part)].annotation
    return "known here: " + ", ".join(section.model_fields)
