"""What `chord-fl compare` compares: a configuration for each strategy of its list."""

from chord_fl.config import Config, make_config
from chord_fl.errors import ConfigError
from chord_fl.trees import overlay


def runs(config: Config, strategies: str) -> dict[str, Config]:
    """A configuration for each of the strategies in a text such as "chord,static:3,mine:Mine", by its label.

    Options that begin with a label and a dot are those of its strategy. Raises ConfigError.
    """
    found: dict[str, Config] = {}
    for text in (part.strip() for part in strategies.split(",")):
        name, _, bits = text.partition(":")
        if name == "static" and bits:
            changes: dict[str, object] = {"strategy": name, "static.bits": int(bits) if bits.isdigit() else bits}
            label = f"{name}-{bits}-bits"
        elif bits.isdigit():
            raise ConfigError(f"--strategies {text}: only static takes a bit-width")
        else:
            changes, label = {"strategy": text}, bits or name
        if label in found:
            same = "stands there twice" if found[label].strategy == text else f"has the name of {found[label].strategy}"
            raise ConfigError(f"--strategies {strategies}: {text} {same}")
        found[label] = make_config(overlay(config.model_dump(), changes))
    return {label: _with_its_options(run, label, list(found)) for label, run in found.items()}


def _with_its_options(config: Config, label: str, labels: list[str]) -> Config:
    """`config` with the options that are for `label`."""
    own = {}
    for key, value in config.strategy_options.items():
        of, dot, option = key.rpartition(".")
        if of not in labels if dot else len(labels) > 1:
            raise ConfigError(
                f"strategy_options.{key}: which strategy is it for? write LABEL.{option or key}, LABEL being one of "
                f"{', '.join(labels)}"
            )
        if of in ("", label):
            own[option] = value
    return make_config(config.model_dump() | {"strategy_options": own})
