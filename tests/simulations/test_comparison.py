"""What a list of strategies stands for."""

from typing import Any

import pytest

from chord_fl.config import make_config
from chord_fl.errors import ConfigError
from simulations.comparison import runs

FEDPROX = "flwr.serverapp.strategy:FedProx"


def compared(strategies: str, **options: Any) -> Any:
    return runs(make_config({"strategy_options": options}), strategies)


def test_names_bits_and_classes_have_labels_that_are_folders() -> None:
    found = compared(f"chord, static:3,static,{FEDPROX}")
    assert list(found) == ["chord", "static-3-bits", "static", "FedProx"]
    assert [run.strategy for run in found.values()] == ["chord", "static", "static", FEDPROX]
    assert found["static-3-bits"].static.bits == 3 and found["static"].static.bits == 32


def test_options_go_to_the_strategy_whose_label_they_bear() -> None:
    found = compared(f"chord,mine:Mine,{FEDPROX}", **{"FedProx.proximal_mu": 0.1, "Mine.depth": 3})
    assert [run.strategy_options for run in found.values()] == [{}, {"depth": 3}, {"proximal_mu": 0.1}]
    assert compared(FEDPROX, proximal_mu=0.1)["FedProx"].strategy_options == {"proximal_mu": 0.1}


@pytest.mark.parametrize(
    ("strategies", "options", "reason"),
    [
        ("chord,chord", {}, "--strategies chord,chord: chord stands there twice"),
        ("a:Mine,b:Mine", {}, "b:Mine has the name of a:Mine"),
        ("chord:3", {}, "--strategies chord:3: only static takes a bit-width"),
        ("static:x", {}, "static.bits = 'x'"),
        (f"chord,{FEDPROX}", {"proximal_mu": 1}, r"which strategy is it for\? write LABEL.proximal_mu"),
        (f"chord,{FEDPROX}", {"FedAvg.mu": 1}, "strategy_options.FedAvg.mu: .* being one of chord, FedProx"),
    ],
)
def test_what_cannot_be_told_apart_is_refused(strategies: str, options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        compared(strategies, **options)
