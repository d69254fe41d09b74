"""Presets, Flower's run config laid over them, and the environment variable of the simulation."""

import json
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Context, RecordDict

from chord_fl.config import Config, make_config
from chord_fl.errors import ConfigError
from simulations.settings import VARIABLE, config_of, export, from_run_config, preset

NAMES = sorted(entry.name.removesuffix(".toml") for entry in (resources.files("simulations") / "presets").iterdir())


def context(**run_config: Any) -> Context:
    return Context(1, 2, {}, RecordDict(), {key.replace("__", "."): value for key, value in run_config.items()})


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "")  # registers what has to be restored
    monkeypatch.delenv(VARIABLE)


def test_the_presets_of_the_readme_exist() -> None:
    assert {"laptop", "thousands"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_preset_is_a_valid_configuration(name: str) -> None:
    assert make_config(preset(name)) == from_run_config({"preset": name})


@pytest.mark.parametrize("name", ["lap", "", "laptop.toml", "../presets/laptop", "/etc/passwd"])
def test_an_unknown_preset_names_those_there_are(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        preset(name)
    assert str(caught.value) == f"preset = {name!r}: unknown; allowed: {', '.join(NAMES)}"


def test_dotted_keys_are_laid_over_the_preset() -> None:
    found = from_run_config(
        {
            "preset": "thousands",
            "out": "somewhere",
            "strategy": "static",
            "seed": 3,
            "data.devices": 500,
            "static.bits": 3,
        }
    )
    expected = preset("thousands")
    assert (found.strategy, found.seed, found.data.devices, found.static.bits) == ("static", 3, 500, 3)
    assert found.train == make_config(expected).train and found.data.name == expected["data"]["name"]


def test_an_empty_text_means_as_in_the_preset() -> None:
    empty = {
        "preset": "thousands",
        "out": "",
        "config": "",
        "strategy": "",
        "seed": "",
        "data.name": "",
        "model.beta": "",
    }
    assert from_run_config(empty) == make_config(preset("thousands"))
    assert from_run_config({"preset": ""}) == from_run_config({}) == make_config(preset("laptop"))


def test_zero_and_false_are_not_empty() -> None:
    assert from_run_config({"preset": "thousands", "model.beta": 0, "seed": 0}).model.beta == 0
    with pytest.raises(ConfigError, match="data.devices = 0"):
        from_run_config({"preset": "thousands", "data.devices": 0})


def test_a_file_lies_between_preset_and_keys(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("seed = 5\n[train]\nepochs = 4\n[model]\nwindow = 7\n")
    found = from_run_config({"preset": "thousands", "config": str(file), "model.window": 9})
    assert (found.seed, found.train.epochs, found.model.window) == (5, 4, 9)
    assert found.train.patience == make_config(preset("thousands")).train.patience


@pytest.mark.parametrize(
    ("text", "why"), [(None, "No such file"), ("seed = = 3", "line 1"), ("[nothing]\na = 1", "nothing")]
)
def test_a_file_that_cannot_be_used(tmp_path: Path, text: str | None, why: str) -> None:
    file = tmp_path / "mine.toml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError, match=why):
        from_run_config({"config": str(file)})


@pytest.mark.parametrize(("section", "key"), [("faults", "lost"), ("faults", "dropout"), ("clock", "deadline")])
def test_a_value_of_a_file_is_blamed_on_the_file_and_one_laid_over_it_is_not(
    tmp_path: Path, section: str, key: str
) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(f"[{section}]\n{key} = -1.5\n")
    with pytest.raises(ConfigError, match=rf"^config file {file}: {section}\.{key} = -1\.5: "):
        from_run_config({"config": str(file), "seed": 3})
    with pytest.raises(ConfigError, match=rf"^{section}\.{key} = -2: "):
        from_run_config({"config": str(file), f"{section}.{key}": -2})
    assert from_run_config({"config": str(file), f"{section}.{key}": 0.5}).seed == 0


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"data.nme": "x"}, "data.nme: unknown key; known here: name"),
        ({"presets": "laptop"}, "presets: unknown key"),
        ({"data": 3}, "data = 3"),
        ({"data.name": "netflix"}, "data.name = 'netflix'"),
        ({"seed.x": 1}, "seed"),
        ({"model.window": "wide"}, "model.window = 'wide'"),
    ],
)
def test_a_wrong_key_or_value_is_named_in_one_line(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_run_config({"seed": 3, **changes})
    assert named in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "tree",
    [
        {},
        {"seed": 2**32 - 1, "data": {"name": "synthetic", "devices": None, "items": 20}},
        {"data": {"name": "csv", "path": "/tmp/ä b.csv"}, "train": {"learning_rate": 1e-7, "checkpoint": "~/x"}},
        {"model": {"ladder": "2-5-6-7", "beta": 0.0625}, "simulation": {"seen": "exclude", "timeout": 0.1}},
    ],
)
def test_what_was_exported_is_found(tree: dict[str, Any]) -> None:
    config = make_config(tree)
    export(config)
    assert config_of(context()) == config


def test_a_run_config_comes_before_the_environment() -> None:
    export(make_config({"seed": 1}))
    assert config_of(context(seed=2)).seed == 2
    assert config_of(context()).seed == 1


def test_without_either_it_says_what_is_missing() -> None:
    with pytest.raises(ConfigError, match=VARIABLE):
        config_of(context())


def test_the_environment_is_checked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, json.dumps({"seed": -1}))
    with pytest.raises(ConfigError, match="seed = -1"):
        config_of(context())


def test_the_environment_holds_one_line_of_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    export(Config())
    assert os.environ[VARIABLE].isascii() and "\n" not in os.environ[VARIABLE]
