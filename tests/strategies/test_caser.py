"""Caser does whatever SASRec does; and devices keep to a limit of bits that a run sets."""

from collections.abc import Callable
from pathlib import Path

import pytest

from chord_fl.baselines import BASELINES
from chord_fl.config import Config
from tests.inprocess import DEVICES, assert_same_results, simulate

Make = Callable[..., Config]


@pytest.fixture(scope="module")
def caser(config: Make, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Small configurations with Caser, which share their checkpoints."""
    checkpoint = str(tmp_path_factory.mktemp("caser"))
    return lambda **changes: config(
        **{"model__backbone": "caser", "model__window": 6, "train__checkpoint": checkpoint, **changes}
    )


@pytest.mark.parametrize("strategy", ["chord", "static", "finetune", *BASELINES])
def test_a_device_gets_the_same_alone_and_in_a_cohort(caser: Make, tmp_path: Path, strategy: str) -> None:
    runs = [simulate(caser(strategy=strategy), tmp_path / str(nodes), nodes).devices for nodes in (1, DEVICES)]
    assert_same_results(*runs)
    assert (runs[0]["error"] == "").all() and (runs[0]["rank"] > 0).all()


def test_candidates_and_seen_items(caser: Make, tmp_path: Path) -> None:
    settings = caser(strategy="chord", simulation__candidates=20, simulation__seen="exclude")
    rows = simulate(settings, tmp_path).devices
    assert rows["rank"].between(1, 20).all()


def test_plans_differ_and_fit(caser: Make, tmp_path: Path) -> None:
    finished = simulate(caser(strategy="chord"), tmp_path)
    assert finished.summary["plan_difference"] > 0
    assert (finished.devices["rank_stranger"] > 0).all()
    assert 2 <= finished.summary["average_bits"] < 3.2


@pytest.mark.parametrize("backbone", ["sasrec", "caser"])
@pytest.mark.parametrize("limit", [2.5, 2.0])
def test_no_device_exceeds_the_limit_of_bits(
    config: Make, caser: Make, tmp_path: Path, backbone: str, limit: float
) -> None:
    make = {"sasrec": config, "caser": caser}[backbone]
    free = simulate(make(strategy="chord"), tmp_path / "free").devices
    held = simulate(make(strategy="chord", simulation__bits_limit=limit), tmp_path / "held").devices
    assert free["average_bits"].max() > 2.5
    assert held["average_bits"].max() <= limit
    if limit == 2.0:  # all users run one model then, and a stranger's plan is one's own
        assert (held["rank"] == held["rank_stranger"]).all()


def test_activations_are_rounded_on_the_device_as_in_training(config: Make, caser: Make, tmp_path: Path) -> None:
    for make, name in ((config, "sasrec"), (caser, "caser")):
        settings = make(strategy="static", model__activation_bits=3, train__checkpoint=str(tmp_path / f"{name}-cp"))
        finished = simulate(settings, tmp_path / name)
        assert (finished.devices["error"] == "").all()
        assert finished.strategy.trained.model.backbone.activations.bits == 3
