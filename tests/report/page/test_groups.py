"""What may be compared, and what it is called."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chord_fl.config import make_config
from chord_fl.report.page.groups import group
from chord_fl.report.page.palette import styles
from chord_fl.report.page.runs import Run
from chord_fl.trees import overlay


def run(folder: str = "run", strategy: str = "chord", seed: int = 0, **changes: Any) -> Run:
    keys = {key.replace("__", "."): value for key, value in changes.items()} | {"strategy": strategy, "seed": seed}
    settings = make_config(overlay({}, keys))
    config = settings.model_dump(exclude_none=True)  # as in config.toml
    summary = {
        "strategy": settings.strategy_label,
        "dataset": config["data"]["name"],
        "seed": seed,
        "devices": 10,
        "rounds": 1,
    }
    return Run(Path(folder), summary, config, "", None, None, None, None, None, ())


def names(*runs: Run) -> list[list[str]]:
    return [[series.name for series in found.series] for found in group(runs)]


def test_runs_that_differ_in_the_seed_alone_are_a_series() -> None:
    (found,) = group([run(seed=2), run(seed=0), run("s", "static", seed=1)])
    assert [series.seeds for series in found.series] == [(0, 2), (1,)]


@pytest.mark.parametrize(
    "changes",
    [
        {"simulation__seen": "exclude"},
        {"simulation__candidates": 20},
        {"data__name": "ml-1m"},
        {"population__source": "budget-phones"},
        {"population__constrain": False},
        {"life__sessions": 3},
        {"faults__lost": 0.1},
        {"clock__deadline": 5.0},
    ],
)
def test_other_conditions_make_another_group(changes: dict[str, Any]) -> None:
    assert [found.name for found in group([run(), run(**changes), run(seed=1)])] == ["A", "B"]


@pytest.mark.parametrize(
    "changes",
    [
        {"simulation__workers": 3},
        {"simulation__devices_per_node": 1},
        {"train__checkpoint": "elsewhere"},
        {"static__bits": 3},  # which CHORD does not read
        {"finetune__steps": 9},
    ],
)
def test_how_a_run_was_executed_tells_nothing_apart(changes: dict[str, Any]) -> None:
    (found,) = group([run(), run(seed=1, **changes)])
    assert len(found.series) == 1


def test_names_say_what_differs_and_nothing_else() -> None:
    assert names(run(), run(model__window=5)) == [["chord (window 10)", "chord (window 5)"]]
    assert names(run(), run("b", "static"), run("c", "static", static__bits=3)) == [
        ["chord", "static (bits 32)", "static (bits 3)"]
    ]
    assert names(run(strategy="static", static__bits=3)) == [["static (bits 3)"]]


def test_options_and_keys_that_others_leave_unset_tell_runs_apart() -> None:
    fedprox: Any = {"strategy": "flwr.serverapp.strategy:FedProx", "seed": 1}
    assert names(run(**fedprox), run(**fedprox | {"seed": 2, "strategy_options": {"proximal_mu": 0.1}})) == [
        ["FedProx", "FedProx (proximal_mu 0.1)"]
    ]
    assert names(run(), run(seed=1, simulation__bits_limit=2.5)) == [["chord", "chord (bits_limit 2.5)"]]
    assert names(run(**fedprox), run(**fedprox, finetune__steps=9)) == [["FedProx (steps 5)", "FedProx (steps 9)"]]
    ours, theirs = run(strategy="ours:Mine"), run(strategy="theirs:Mine")
    assert names(ours, theirs) == [["Mine (strategy ours:Mine)", "Mine (strategy theirs:Mine)"]]


def test_the_same_run_twice_keeps_both_and_names_their_folders() -> None:
    assert names(run("first"), run("second")) == [["chord in first", "chord in second"]]
    assert names(run("a/x"), run("b/x")) == [["chord in x #1", "chord in x #2"]]
    long = [run(f"a/{'x' * 60}{number}", "mine" * 20) for number in range(3)]
    assert len(set(names(*long)[0])) == 3  # whatever is left out of a name


def test_without_a_configuration_the_summary_decides() -> None:
    whole = run()
    bare = replace(whole, config={}, summary={**whole.summary, "seed": 1, "sessions": 1, "seen": "keep"})
    assert len(group([whole, bare])) == 1
    other = replace(bare, summary={**bare.summary, "seen": "exclude"})
    assert len(group([whole, other])) == 2


def test_a_strategy_keeps_its_look_whoever_is_beside_it() -> None:
    alone = styles(["chord"])[0]
    assert styles(["static", "mine", "chord"])[2] == alone == styles(["chord", "quant"])[0]
    many = styles(["chord", "chord", "chord", "mine", "yours", "static"])
    assert len({(look.colour, look.mark) for look in many}) == len(many)
