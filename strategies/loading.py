"""Which strategy a configuration names: one of this package, or any class that can be imported, with its options.

`strategy` is a name of `STRATEGIES`, or MODULE:CLASS. The class is a DeviceStrategy, or any strategy of Flower's, which
is then hosted (`strategies.hosted`). `strategy_options` are checked against the class's `Options`, a pydantic model, or
against the parameters of a Flower strategy that are numbers, texts or truth values.
"""

import inspect
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flwr.serverapp import strategy as flower
from flwr.serverapp.strategy import Strategy
from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from chord_fl.baselines import BASELINES
from chord_fl.config import Config
from chord_fl.errors import ConfigError
from chord_fl.imports import described, imported, users_module
from strategies import STRATEGIES, baseline
from strategies.base import DeviceStrategy

# replies of these may be means of several devices': what they make of them is a weighted average
_AVERAGING = (
    flower.FedAvg,
    flower.FedProx,
    flower.FedAvgM,
    flower.FedAdagrad,
    flower.FedAdam,
    flower.FedYogi,
)
_UNFIT: dict[type, str] = {
    flower.FedXgbBagging: "it trains trees, and the models here are networks",
    flower.FedXgbCyclic: "it trains trees, and the models here are networks",
    flower.DifferentialPrivacyClientSideAdaptiveClipping: "its devices must clip, which those here do not",
    flower.DifferentialPrivacyClientSideFixedClipping: "its devices must clip, which those here do not",
}
_LEAST = ("min_available_nodes", "min_train_nodes", "min_evaluate_nodes")  # Flower waits for so many, for ever
_SCALARS = (bool, int, float, str)


def load(name: str) -> type[Strategy]:
    """The class that `strategy` names. Raises ConfigError, one line: what is not there, or no strategy."""
    if name in BASELINES:
        return baseline.of(name)
    if name in STRATEGIES:
        return typing.cast(type[Strategy], imported(STRATEGIES[name]))
    module_name, colon, attribute = name.partition(":")
    if not colon:
        if name.isidentifier() and Path(f"{name}.py").is_file():
            raise ConfigError(f"strategy = {name!r}: {name}.py is here: say which class of it, as in {name}:CLASS")
        raise ConfigError(
            f"strategy = {name!r}: unknown; allowed: {', '.join(STRATEGIES)}, or MODULE:CLASS, yours or Flower's"
        )
    module = users_module(module_name, f"strategy = {name!r}")
    kind = getattr(module, attribute, None)
    if not _is_strategy(kind):
        there = sorted(
            key for key, value in vars(module).items() if _is_strategy(value) and not inspect.isabstract(value)
        )
        what = "is no class of a strategy" if hasattr(module, attribute) else f"is not in {module_name}"
        wanted = attribute or "CLASS"
        raise ConfigError(f"strategy = {name!r}: {wanted} {what}; there are: {', '.join(there) or 'none'}")
    found = typing.cast(type[Strategy], kind)
    if inspect.isabstract(found):
        missing = ", ".join(sorted(found.__abstractmethods__))
        raise ConfigError(f"strategy = {name!r}: {attribute} does not define {missing}")
    for needed in ("method", "action"):
        if issubclass(found, DeviceStrategy) and not hasattr(found, needed):
            raise ConfigError(f"strategy = {name!r}: {attribute} does not say its {needed} (strategies/base.py)")
    return found


def options(config: Config) -> BaseModel:
    """`strategy_options`, checked. Raises ConfigError naming key, value and what is allowed."""
    kind = load(config.strategy)
    model = kind.Options if issubclass(kind, DeviceStrategy) else _parameters(kind)
    given, known = config.strategy_options, list(model.model_fields)
    for key in given:
        if key not in known:
            allowed = f"it takes {', '.join(known)}" if known else "it takes none"
            raise ConfigError(f"strategy_options.{key}: unknown to {config.strategy}; {allowed}")
    try:
        return model.model_validate(dict(given))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        where = "" if first["type"] == "missing" else f" = {first['input']!r}"
        message = first["msg"].removeprefix("Value error, ")
        what = f"required by {config.strategy}" if first["type"] == "missing" else message[0].lower() + message[1:]
        raise ConfigError(f"strategy_options.{key}{where}: {what}") from error


def guest(config: Config) -> Strategy:
    """The Flower strategy that the configuration names, made with its options. Raises ConfigError."""
    kind = load(config.strategy)
    try:
        return kind(**options(config).model_dump(exclude_unset=True))
    except ConfigError:
        raise
    except Exception as error:  # whatever a class of somebody else's makes of its options
        raise ConfigError(f"strategy = {config.strategy!r}: {described(error)}") from error


def check(config: Config, devices: int) -> None:
    """Refuse what cannot run on so many devices. Raises ConfigError."""
    kind = load(config.strategy)
    if issubclass(kind, DeviceStrategy):
        options(config)
        return
    for unfit, reason in _UNFIT.items():
        if issubclass(kind, unfit):
            raise ConfigError(f"strategy = {config.strategy!r}: {reason}")
    required = [name for name, one in _signature(kind).items() if one.default is one.empty and not _scalar(kind, name)]
    if required:
        raise ConfigError(
            f"strategy = {config.strategy!r}: it needs {', '.join(required)}, which no option can give: "
            "subclass it in a module of your own that does"
        )
    made = guest(config)
    weighted = getattr(made, "weighted_by_key", "num-examples") == "num-examples"
    if config.simulation.devices_per_node != 1 and not (_averages(kind) and weighted):
        raise ConfigError(
            f"strategy = {config.strategy!r}: it looks at every device's update apart: add --devices-per-node 1 "
            "(simulation.devices_per_node)"
        )
    for name in _LEAST:
        if getattr(made, name, 0) > devices:
            raise ConfigError(f"strategy_options.{name} = {getattr(made, name)}: there are only {devices} devices")


def _averages(kind: type[Strategy]) -> bool:
    """Whether all it makes of replies is their weighted average; a class says so itself by `averages_replies`."""
    for owner in kind.__mro__:
        if "averages_replies" in vars(owner):
            return bool(vars(owner)["averages_replies"])
        if "aggregate_train" in vars(owner):
            return owner in _AVERAGING
    return False


def _is_strategy(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Strategy)


def _signature(kind: type) -> dict[str, inspect.Parameter]:
    """The parameters of a constructor, and of those it passes the rest on to."""
    found: dict[str, inspect.Parameter] = {}
    for owner in kind.__mro__:
        if "__init__" not in vars(owner) or owner is object:
            continue
        own = list(inspect.signature(owner.__init__).parameters.values())[1:]  # type: ignore[misc]
        passed = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        found |= {one.name: one for one in own if one.kind not in passed and one.name not in found}
        if not any(one.kind is inspect.Parameter.VAR_KEYWORD for one in own):
            break
    return found


def _annotations(kind: type) -> Mapping[str, Any]:
    found: dict[str, Any] = {}
    for owner in reversed(kind.__mro__):
        if "__init__" in vars(owner) and owner is not object:
            try:
                found |= typing.get_type_hints(owner.__init__)  # type: ignore[misc]
            except NameError:  # names that only a type checker sees: such parameters are no options
                continue
    return found


def _scalar(kind: type, name: str) -> bool:
    """Whether a parameter is a number, a text or a truth value, perhaps None; its default tells where nothing else."""
    hint = _annotations(kind).get(name)
    if hint is None:
        default = _signature(kind)[name].default
        return isinstance(default, _SCALARS)
    return all(part in (*_SCALARS, type(None)) for part in typing.get_args(hint) or (hint,))


def _parameters(kind: type) -> type[BaseModel]:
    """A model of the parameters that options can give."""
    fields: dict[str, Any] = {}
    for name, one in _signature(kind).items():
        if _scalar(kind, name):
            hint = _annotations(kind).get(name) or type(one.default)
            fields[name] = (hint, ... if one.default is one.empty else one.default)
    return create_model("Options", __config__=ConfigDict(extra="forbid", coerce_numbers_to_str=True), **fields)
