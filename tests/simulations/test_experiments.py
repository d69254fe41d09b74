"""What each table and figure consists of, as configurations."""

from collections.abc import Mapping
from math import nan
from typing import Any

import pytest

from chord_fl.config import Config
from chord_fl.errors import ConfigError
from chord_fl.report import paper
from simulations.experiments import EXPERIMENTS, NAMES, Case, changes, named
from simulations.options import resolve


def make(changed: Mapping[str, Any], *settings: str) -> Config:
    return resolve(settings=[*settings, *(f"{key}={value}" for key, value in changed.items())])


def configurations(name: str, backbone: str = "sasrec") -> dict[tuple[Any, ...], Config]:
    """The configurations of an experiment by label and columns."""
    cases = EXPERIMENTS[name].cases
    return {(case.label, *case.columns.values()): make(changes(case, "ml-100k", backbone, seed=4)) for case in cases}


def test_every_experiment_of_the_paper_has_a_name() -> None:
    tables, figures = [f"table{n}" for n in range(1, 7)], [f"figure{n}" for n in range(3, 6)]
    of_the_paper = (*tables, *figures, "peer", "param")
    assert set(NAMES) == {*of_the_paper, "personalisation", "windows", "budget", "time", "life", "all"}
    assert named("all") == of_the_paper and named("table4") == ("table4",)


@pytest.mark.parametrize("name", EXPERIMENTS)
@pytest.mark.parametrize("backbone", ["sasrec", "caser"])
def test_backbone_and_seed_are_those_asked_for(name: str, backbone: str) -> None:
    experiment = EXPERIMENTS[name]
    found = configurations(name, backbone)
    assert len(found) == len(experiment.cases)  # no two cases are called the same
    for config in found.values():
        assert (config.model.backbone, config.seed) == (backbone, 4)
        assert name in ("personalisation", "windows") or config.model.window == {"sasrec": 10, "caser": 20}[backbone]


def test_table2_has_the_methods_of_the_paper_and_two_that_learn_nothing() -> None:
    labels = [paper.method_in_paper(case.label) for case in EXPERIMENTS["table2"].cases]
    assert labels == [*paper.METHODS, "popular", "covisitation"]
    for (label,), config in configurations("table2").items():
        unbound = {"population.constrain": False}
        assert config == make({"strategy": label, "seed": 4, **unbound})  # nothing else is changed


def test_table3_adds_the_levels_of_importance_one_by_one() -> None:
    found = configurations("table3")
    assert {label: (config.strategy, config.model.importance) for (label,), config in found.items()} == {
        "quant": ("quant", "layer"),
        "+customization": ("chord", "filter"),
        "+weighted-channel": ("chord", "element"),
        "chord": ("chord", "layer"),
    }
    assert {label for (label,) in found} == set(paper.table("table3")["method"])


def test_table4_compares_the_two_ladders() -> None:
    assert {columns: config.model.ladder for columns, config in configurations("table4").items()} == {
        ("chord", "2-4-6-8"): "2-4-6-8",
        ("chord", "2-5-6-7"): "2-5-6-7",
    }


def test_table5_quantises_activations_of_chord_alone() -> None:
    found = {
        columns: (config.strategy, config.model.activation_bits) for columns, config in configurations("table5").items()
    }
    assert found == {
        ("static", 32, 32): ("static", 32),
        ("chord", 3, 32): ("chord", 32),
        ("chord", 3, 3): ("chord", 3),
    }


def test_table6_has_the_lines_of_the_paper_each_held_to_its_bits() -> None:
    found = {
        columns[1:]: (config.model.beta, config.simulation.bits_limit)
        for columns, config in configurations("table6").items()
    }
    assert found == {
        (3.0, 3.0): (0.125, 3.0),
        (2.5, 2.5): (0.0625, 2.5),
        (2.5, 3.0): (0.125, 2.5),
        (2.0, 2.0): (0.0, 2.0),
        (2.0, 3.0): (0.125, 2.0),
    }
    lines = paper.table("table6")[["deployment_bits", "training_bits"]].drop_duplicates()
    assert set(found) == set(lines.itertuples(index=False, name=None))


def test_what_is_deployed_lower_is_the_same_checkpoint() -> None:
    found = configurations("table6")
    keys = {columns[1:]: config.training_key("chord") for columns, config in found.items()}
    assert keys[2.5, 3.0] == keys[2.0, 3.0] == keys[3.0, 3.0] != keys[2.5, 2.5]
    assert configurations("table3")[("chord",)] == configurations("figure5")[("chord",)]


def test_figures_3_and_4() -> None:
    assert {label for (label,) in configurations("figure3")} == {"quant", "adabits", "rfquant", "mbquant", "chord"}
    betas = [case.columns["beta"] for case in EXPERIMENTS["figure4"].cases if case.label == "chord"]
    assert betas == [0.0625, 0.125, 0.1875, 0.25]
    for case in EXPERIMENTS["figure4"].cases:
        config = make(changes(case, "ml-100k", "sasrec", 0))
        assert config.strategy == case.label and case.columns["beta"] in (
            config.model.beta,
            pytest.approx(nan, nan_ok=True),
        )
    assert [EXPERIMENTS[name].source for name in ("table2", "figure3", "figure4", "figure5")] == [
        *("runs", "curves", "runs", "plans"),
    ]


def test_life_is_one_population_under_rules_from_once_to_always() -> None:
    found = configurations("life")
    assert {config.life.sessions for config in found.values()} == {10} == {config.rounds for config in found.values()}
    chord = [config for config in found.values() if config.strategy == "chord"]
    assert len({config.training_key("chord") for config in chord}) == 1
    assert chord[0].life.refresh == "once" and chord[-1].life.refresh == "always"
    for config in chord:
        assert found[("chord", config.life.refresh)] is config  # the column says what is run
    assert {label for label, *_ in found} == {"static", "finetune", "chord"}


def test_the_paper_compares_methods_and_not_phones_unless_told() -> None:
    for name, experiment in EXPERIMENTS.items():
        for config in configurations(name).values():
            if experiment.source not in ("budgets", "clocks"):
                assert not config.population.constrain and config.population.source == "phones"
    asked = changes(Case("chord", "chord"), "ml-100k", "sasrec", 0, asked=["population.constrain"])
    assert "population.constrain" not in asked


def test_budget_and_time_are_populations_that_live() -> None:
    for config in configurations("budget").values():
        assert config.population.constrain and config.population.source == "budget-phones"
        assert config.model.beta == 0.125, "trained once, at 3 bits"
    found = {columns: config for columns, config in configurations("time").items()}
    assert {method for method, _ in found} == {"chord", "static", "finetune"}
    for (_, budgets), config in found.items():
        assert config.clock.deadline is not None and config.population.availability == "always"
        assert config.population.constrain == (budgets == "on") and config.population.source == "budget-phones"
        assert 0 < config.clock.deadline < config.clock.interval, "what a round takes decides, not who is awake"


def test_amazon_cd_has_the_six_blocks_of_the_paper_unless_told() -> None:
    case = Case("chord", "chord")
    assert changes(case, "cd-like", "sasrec", 0)["model.blocks"] == 6
    assert "model.blocks" not in changes(case, "cd-like", "sasrec", 0, asked=["model.blocks"])
    assert changes(case, "ml-1m", "sasrec", 0)["train.train_users"] == 6040  # all, whatever the default
    assert "model.blocks" not in changes(case, "ml-100k", "sasrec", 0)


def test_what_the_user_set_reaches_every_case_and_the_case_wins() -> None:
    for case in EXPERIMENTS["figure4"].cases[1:]:
        config = make(changes(case, "ml-100k", "sasrec", 0), "train.epochs=7", "model.beta=0.4")
        assert config.train.epochs == 7 and config.model.beta == case.columns["beta"]
    with pytest.raises(ConfigError, match="unknown key"):
        make({}, "train.epoch=7")
