import math
from pathlib import Path
from typing import Any

import pytest

from chord_fl.config import ClockConfig, Config, FaultsConfig, make_config, refresh_rule
from chord_fl.errors import ConfigError
from chord_fl.trees import describe_difference, overlay, read_toml, write_toml


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("model.beta", 0.5, "less than 0.5"),
        ("model.beta", -0.1, "greater than or equal to 0"),
        ("model.beta", math.nan, "finite number"),
        ("model.beta", "much", "valid number"),
        ("model.blocks", 2.5, "valid integer"),
        ("model.blocks", 0, "greater than or equal to 1"),
        ("model.ladder", "2-4-6", "'2-4-6-8' or '2-5-6-7'"),
        ("model.backbone", "gru4rec", "sasrec"),
        ("static.bits", 9, "2, 3, 4, 5, 6, 7, 8 or 32"),
        ("data.devices", 0, "greater than or equal to 1"),
        ("data.devices", {"a": 1}, "valid integer"),
        ("data.name", "netflix", "'ml-100k', 'ml-1m', 'amazon-cd', 'yelp', 'csv', "),
        ("train.learning_rate", 0, "greater than 0"),
        ("train.device", "tpu", "cpu|cuda"),
        ("train.temperature", math.inf, "finite number"),
        ("train.batch_size", 1, "greater than or equal to 2"),
        ("simulation.candidates", 100, "less than 100"),
        ("simulation.seen", "maybe", "'keep' or 'exclude'"),
        ("simulation.rounds", None, "valid integer"),
        ("finetune.steps", 0, "greater than or equal to 1"),
        ("life.sessions", 0, "greater than or equal to 1"),
        ("life.sessions", 1001, "less than or equal to 1000"),
        ("seed", -1, "greater than or equal to 0"),
        ("seed", 2**32, "less than 4294967296"),
        ("strategy", 3, "valid string"),
        ("data", 5, "valid dictionary"),
        ("clock.cost", "my_clock.cost", "pattern"),
    ],
)
def test_a_bad_value_is_refused_in_one_line(key: str, value: object, allowed: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        make_config(overlay({}, {key: value}))
    message = str(refusal.value)
    assert message.startswith(f"{key} = {value!r}: ") and allowed in message and "\n" not in message


@pytest.mark.parametrize(
    "rule",
    [
        *(
            "",
            "never",
            "always:1",
            "once:",
            "every",
            "every:0",
            "every:-1",
            "every:1.5",
            "every:²",
            "cosine",
            "cosine:",
        ),
        *("cosine:-0.1", "cosine:2.1", "cosine:nan", "cosine:inf", "cosine:0.1:0.2", "COSINE:1", "once "),
    ],
)
def test_a_rule_of_refreshing_that_cannot_be_read_is_refused_in_one_line(rule: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        make_config({"life": {"refresh": rule}})
    message = str(refusal.value)
    assert message.startswith(f"life.refresh = {rule!r}: allowed are always, once, every:K") and "\n" not in message


@pytest.mark.parametrize(
    ("rule", "read"),
    [
        *(("always", ("always", 0)), ("once", ("once", 0)), ("every:3", ("every", 3)), ("cosine:0.1", ("cosine", 0.1))),
        *(("cosine:0", ("cosine", 0)), ("cosine:2", ("cosine", 2)), ("cosine:1e-3", ("cosine", 0.001))),
    ],
)
def test_a_rule_of_refreshing_is_read(rule: str, read: tuple[str, float]) -> None:
    assert refresh_rule(make_config({"life": {"refresh": rule}}).life.refresh) == read


def test_a_round_is_a_session_where_there_are_several() -> None:
    def rounds(rounds: int, sessions: int) -> int:
        return make_config({"simulation": {"rounds": rounds}, "life": {"sessions": sessions}}).rounds

    assert (rounds(1, 1), rounds(5, 1), rounds(1, 7), rounds(7, 7)) == (1, 5, 7, 7)
    with pytest.raises(ConfigError, match=r"^simulation\.rounds = 3: a round is a session, and life\.sessions is 7$"):
        rounds(3, 7)


def test_a_single_session_leaves_the_training_key_as_it_was() -> None:
    for method in ("chord", "full"):
        assert make_config({"life": {"sessions": 1}}).training_view(method).keys() == {
            *("method", "version", "seed", "data", "model", "train")  # what a checkpoint of old was known by
        }
    assert make_config({"life": {"sessions": 2}}).training_view("full")["sessions"] == 2


def test_an_unknown_key_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"^model\.betta: unknown key; known here: .*beta"):
        make_config({"model": {"betta": 0.1}})
    with pytest.raises(ConfigError, match=r"^modell: unknown key; known here: strategy, seed, data, model"):
        make_config({"modell": {"beta": 0.1}})


def test_a_csv_needs_a_path() -> None:
    with pytest.raises(ConfigError, match=r"data\.path is required when data\.name is csv"):
        make_config({"data": {"name": "csv"}})
    assert make_config({"data": {"name": "csv", "path": "x.csv"}}).data.path == str(Path("x.csv").absolute())


def test_an_empty_tree_is_the_defaults_and_text_from_a_command_line_is_read() -> None:
    assert make_config({}) == Config()
    found = make_config(overlay({}, {"model.beta": "0.25", "data.devices": "12", "seed": "3"}))
    assert (found.model.beta, found.data.devices, found.seed) == (0.25, 12, 3)


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Config().model.beta = 0.1  # type: ignore[misc]


@pytest.mark.parametrize(("ladder", "levels"), [("2-4-6-8", (2, 4, 6, 8)), ("2-5-6-7", (2, 5, 6, 7))])
def test_the_ladder_gives_the_levels(ladder: str, levels: tuple[int, ...]) -> None:
    assert make_config({"model": {"ladder": ladder}}).model.levels == levels


def test_overlay_lays_changes_over_a_tree_and_leaves_both() -> None:
    tree: dict[str, Any] = {"seed": 1, "model": {"beta": 0.1, "dim": 8}}
    changes = {"model.beta": 0.2, "train.epochs": 5, "seed": 2}
    result = overlay(tree, changes)
    assert result == {"seed": 2, "model": {"beta": 0.2, "dim": 8}, "train": {"epochs": 5}}
    assert tree == {"seed": 1, "model": {"beta": 0.1, "dim": 8}}
    assert changes == {"model.beta": 0.2, "train.epochs": 5, "seed": 2}
    result["model"]["dim"] = 9
    assert tree["model"]["dim"] == 8


def test_overlay_refuses_a_key_below_a_value() -> None:
    with pytest.raises(ConfigError, match=r"seed\.x: seed is a value, not a section"):
        overlay({"seed": 1}, {"seed.x": 2})


def test_differences_are_named_with_both_values() -> None:
    one = {"a": 1, "b": {"c": "x", "d": 2.0}}
    assert describe_difference(one, {"a": 1, "b": {"c": "x", "d": 2.0}}) == ""
    assert describe_difference(one, {"a": 1, "b": {"c": "y", "d": 3.0}}) == "b.c is 'x' there, 'y' here"
    assert describe_difference(one, {"a": 2, "b": {}}) == "a is 1 there, 2 here"
    assert describe_difference(one, {"a": 1}) == f"b is {one['b']!r} there, None here"
    assert describe_difference({}, {"z": 3}) == "z is None there, 3 here"


BASE: dict[str, Any] = {
    "data": {"name": "csv", "path": "x.csv"},
    "model": {"dim": 8},
}
# another allowed value for every key that a configuration has
OTHER: dict[str, Any] = {
    "strategy": "static",
    "seed": 7,
    "data.name": "synthetic",
    "data.path": "y.csv",
    "data.data_dir": "/elsewhere",
    "data.user_column": "u",
    "data.item_column": "i",
    "data.time_column": "t",
    "data.core": 5,
    "data.devices": 33,
    "data.items": 500,
    "data.taste": "hidden",
    "model.backbone": "caser",
    "model.blocks": 2,
    "model.dim": 16,
    "model.window": 7,
    "model.history": 70,
    "model.ladder": "2-5-6-7",
    "model.beta": 0.25,
    "model.importance": "filter",
    "model.activation_bits": 4,
    "model.standardised": False,
    "model.biases": "shared",
    "train.train_users": 60,
    "train.epochs": 4,
    "train.patience": 3,
    "train.batch_size": 32,
    "train.learning_rate": 0.5,
    "train.hypernetwork_rate": 2.0,
    "train.dropout": 0.4,
    "train.weight_scale": 3.0,
    "train.temperature": 0.7,
    "train.device": "cuda:1",
    "train.checkpoint": "/ckpt",
    "simulation.rounds": 4,
    "simulation.devices_per_node": 2,
    "simulation.workers": 3,
    "simulation.candidates": 50,
    "simulation.seen": "exclude",
    "simulation.profile_format": "int8",
    "simulation.timeout": 5.0,
    "simulation.bits_limit": 2.5,
    "population.source": "commuters",
    "population.availability": "diurnal",
    "population.constrain": False,
    "clock.deadline": 9.0,
    "clock.cost": "my_clock:cost",
    **{f"clock.{name}": 0.25 for name in ClockConfig.model_fields if name not in ("deadline", "cost")},
    **{f"faults.{name}": 0.25 for name in FaultsConfig.model_fields},
    "static.bits": 4,
    "finetune.steps": 3,
    "finetune.learning_rate": 0.5,
    "life.sessions": 4,
    "life.refresh": "cosine:0.1",
    "strategy_options": {"proximal_mu": 0.5},
}
# a file is known by its content, wherever it lies, and its catalogue is what it holds
NEVER = {
    *("strategy", "data.path", "data.items", "data.data_dir", "data.devices", "train.device", "train.checkpoint"),
    *("data.taste", "life.refresh", "strategy_options"),
}
_AFTERWARDS = ("simulation", "population", "clock", "faults", "static", "finetune")  # sections of no training
PLANS_ALONE = {
    "model.history",
    "model.ladder",
    "model.beta",
    "model.importance",
    "model.standardised",
    "model.biases",
    "train.hypernetwork_rate",
    "train.weight_scale",
    "train.temperature",
}


def every_key() -> set[str]:
    keys = set()
    for name, field in Config.model_fields.items():
        section = getattr(field.annotation, "model_fields", None)
        keys |= {f"{name}.{key}" for key in section} if section else {name}
    return keys


def test_the_table_of_changes_is_complete() -> None:
    assert every_key() == OTHER.keys()


@pytest.mark.parametrize("key", sorted(OTHER))
def test_the_training_key_changes_with_what_training_depends_on(key: str) -> None:
    base, changed = make_config(BASE), make_config(overlay(BASE, {key: OTHER[key]}))
    matters = key not in NEVER and key.split(".")[0] not in _AFTERWARDS
    assert (changed.training_key("chord") != base.training_key("chord")) == matters
    assert (changed.training_key("full") != base.training_key("full")) == (matters and key not in PLANS_ALONE)


def test_the_training_key_of_a_file_is_its_content(tmp_path: Path) -> None:
    def key(path: Path) -> str:
        return make_config(overlay(BASE, {"data.path": str(path)})).training_key("chord")

    one, same, other = (tmp_path / name for name in ("one.csv", "same.csv", "other.csv"))
    for path, text in ((one, "a"), (same, "a"), (other, "b")):
        path.write_text(text)
    assert key(one) == key(same) != key(other)
    before = key(one)
    one.write_text("c")
    assert key(one) != before


def test_the_training_key_depends_on_what_the_data_set_uses() -> None:
    def key(name: str, **changes: Any) -> str:
        return make_config({"data": {"name": name, **changes}}).training_key("chord")

    assert key("synthetic") == key("synthetic", core=5) != key("synthetic", items=500)
    assert key("ml-100k") == key("ml-100k", items=500) == key("ml-100k", path="u.data") != key("ml-100k", core=5)


def test_the_two_methods_do_not_share_a_checkpoint() -> None:
    found = make_config(BASE)
    assert found.training_key("chord") != found.training_key("full")
    assert found.training_key("chord").startswith("csv-chord-")
    assert found.training_key("chord") == make_config(BASE).training_key("chord")


def test_a_configuration_survives_toml(tmp_path: Path) -> None:
    for changes in ({}, {key: OTHER[key] for key in OTHER if key != "data.name"}, {"data.path": "/dåta/ü.csv"}):
        found = make_config(overlay(BASE, changes))
        write_toml(tmp_path / "config.toml", found.model_dump())
        assert make_config(read_toml(tmp_path / "config.toml")) == found
        view = found.training_view("chord")
        write_toml(tmp_path / "view.toml", view)
        assert describe_difference(read_toml(tmp_path / "view.toml"), view) == ""


def test_a_file_that_is_no_toml_is_a_value_error(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("a = = 3")
    with pytest.raises(ValueError, match="Invalid value"):
        read_toml(tmp_path / "bad.toml")
