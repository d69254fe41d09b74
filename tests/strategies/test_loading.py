"""MODULE:CLASS and its options: what works, and one line for everything that does not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chord_fl.config import Config
from chord_fl.errors import ChordError, ConfigError
from strategies import STRATEGIES, loading
from strategies.base import DeviceStrategy
from strategies.hosted import Hosted
from tests.inprocess import simulate

Make = Callable[..., Config]

MINE = """
import numpy as np
from flwr.serverapp.strategy import FedAvg
from pydantic import BaseModel, Field

from strategies.chord import PlanStrategy


class Level(PlanStrategy):
    class Options(BaseModel):
        code: int = Field(1, ge=0, le=3)

    def plans(self, profiles):
        channels = self.trained.model.spec.layout.channels
        return np.full((len(profiles), channels), self.options.code, dtype=np.uint8)


class Unplanned(PlanStrategy):
    pass


class Half(FedAvg):
    def __init__(self, share: float = 0.5, note=None, **rest):
        super().__init__(fraction_train=share, **rest)


class Needy(FedAvg):
    def __init__(self, model: object):
        super().__init__()


class Moody(FedAvg):
    def __init__(self, share: float = 0.5):
        raise RuntimeError(f"not with {share}")


class Own(FedAvg):
    def aggregate_train(self, server_round, replies):
        return super().aggregate_train(server_round, replies)


class OwnAverage(Own):
    averages_replies = True


number = 3
"""


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("here")
    (folder / "of_mine.py").write_text(MINE)
    (folder / "broken.py").write_text("import numpy\nx = = 3\n")
    (folder / "crashing.py").write_text("x = 1\nraise OSError('no\\nluck')\n")
    (folder / "importing.py").write_text("import nothing_of_this_name\n")
    return folder


@pytest.fixture(autouse=True)
def _in_that_folder(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here)
    monkeypatch.setattr("sys.path", [entry for entry in __import__("sys").path if entry != str(here)])


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "a name": ({"strategy": "magic"}, "strategy = 'magic': unknown; allowed: chord, static, .*, or MODULE:CLASS"),
    "a file": ({"strategy": "of_mine"}, "of_mine.py is here: say which class of it, as in of_mine:CLASS"),
    "no module": ({"strategy": "nowhere:X"}, "strategy = 'nowhere:X': no module nowhere, neither here nor installed"),
    "no such part": ({"strategy": "flwr.nowhere:X"}, "no module flwr.nowhere"),
    "no name of a module": ({"strategy": "../of_mine:X"}, "'../of_mine' is no name of a module"),
    "no class": ({"strategy": "of_mine:Levl"}, "Levl is not in of_mine; there are: .*Level.*OwnAverage"),
    "no strategy": ({"strategy": "of_mine:number"}, "number is no class of a strategy; there are: .*Level"),
    "abstract": ({"strategy": "of_mine:Unplanned"}, "Unplanned does not define plans"),
    "abstract of Flower": ({"strategy": "flwr.serverapp.strategy:Strategy"}, "Strategy does not define aggregate_"),
    "syntax": ({"strategy": "broken:X"}, r"importing broken: SyntaxError: invalid syntax \(broken.py, line 2\)"),
    "crash": ({"strategy": "crashing:X"}, r"importing crashing: OSError: no luck \(crashing.py, line 2\)"),
    "import": ({"strategy": "importing:X"}, "importing importing: ModuleNotFoundError: .*nothing_of_this_name"),
    "options of one without": (
        {"strategy": "chord", "strategy_options": {"bits": 3}},
        "strategy_options.bits: unknown to chord; it takes none",
    ),
    "unknown option": (
        {"strategy": "of_mine:Level", "strategy_options": {"cod": 3}},
        "strategy_options.cod: unknown to of_mine:Level; it takes code",
    ),
    "an option out of range": (
        {"strategy": "of_mine:Level", "strategy_options": {"code": 4}},
        "strategy_options.code = 4: input should be less than or equal to 3",
    ),
    "an option passed on": (
        {"strategy": "of_mine:Half", "strategy_options": {"nothing": 1}},
        "strategy_options.nothing: unknown to of_mine:Half; it takes share, fraction_train, fraction_evaluate, ",
    ),
    "an option of another type": (
        {"strategy": "flwr.serverapp.strategy:FedProx", "strategy_options": {"proximal_mu": "much"}},
        "strategy_options.proximal_mu = 'much': input should be a valid number",
    ),
    "an option that is required": (
        {"strategy": "flwr.serverapp.strategy:QFedAvg", "simulation__devices_per_node": 1},
        "strategy_options.client_learning_rate: required by flwr.serverapp.strategy:QFedAvg",
    ),
    "what no option can give": ({"strategy": "of_mine:Needy"}, "it needs model, which no option can give"),
    "a class that refuses": (
        {"strategy": "of_mine:Moody", "strategy_options": {"share": 0.25}},
        r"RuntimeError: not with 0.25 \(of_mine.py, line \d+\)",
    ),
    "more nodes than there are": (
        {"strategy": "flwr.serverapp.strategy:FedAvg", "strategy_options": {"min_available_nodes": 91}},
        "strategy_options.min_available_nodes = 91: there are only 90 devices",
    ),
    "one that may not average": ({"strategy": "of_mine:Own"}, "add --devices-per-node 1"),
    "another weight": (
        {"strategy": "flwr.serverapp.strategy:FedAvg", "strategy_options": {"weighted_by_key": "train_loss"}},
        "add --devices-per-node 1",
    ),
    "trees": ({"strategy": "flwr.serverapp.strategy:FedXgbBagging"}, "it trains trees"),
    "a wrapper": (
        {"strategy": "flwr.serverapp.strategy:DifferentialPrivacyServerSideFixedClipping"},
        "it needs strategy, which no option can give",
    ),
    "clipping": (
        {"strategy": "flwr.serverapp.strategy:DifferentialPrivacyClientSideFixedClipping"},
        "its devices must clip",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_wrong_is_said_in_one_line(config: Make, what: str) -> None:
    changes, reason = BAD[what]
    with pytest.raises(ConfigError, match=reason) as caught:
        loading.check(config(**changes), 90)
    assert "\n" not in str(caught.value)


def test_every_strategy_of_flowers_is_either_run_or_refused(config: Make) -> None:
    """None slips through unnoticed when Flower adds one: it averages, needs a node per device, or says why not."""
    from flwr.serverapp import strategy as flower

    given = {"QFedAvg": {"client_learning_rate": 0.1}}
    said = {}
    for name in flower.__all__:
        if name in ("Result", "Strategy"):
            continue
        settings = config(strategy=f"flwr.serverapp.strategy:{name}", strategy_options=given.get(name, {}))
        try:
            loading.check(settings, 90)
            said[name] = "runs"
        except ConfigError as error:
            said[name] = "apart" if "--devices-per-node 1" in str(error) else "refused"
    assert {name for name, word in said.items() if word == "runs"} == {
        *("FedAvg", "FedAvgM", "FedProx", "FedAdagrad", "FedAdam", "FedYogi")
    }
    assert {name for name, word in said.items() if word == "apart"} == {
        *("Krum", "MultiKrum", "Bulyan", "FedMedian", "FedTrimmedAvg", "QFedAvg")
    }


def test_a_plan_strategy_of_ones_own_gets_its_options(config: Make, tmp_path: Path) -> None:
    bits = {}
    for code in (0, 3):
        settings = config(strategy="of_mine:Level", strategy_options={"code": code}, data__devices=10)
        finished = simulate(settings, tmp_path / str(code))
        bits[code] = finished.summary["average_bits"]
        assert finished.summary["strategy"] == "Level" and set(finished.devices["strategy"]) == {"Level"}
    assert bits[0] == 2 < bits[3]


@pytest.mark.parametrize("wrong", ["np.ones(len(profiles))", "self.options.code * np.ones((len(profiles), 80))"])
def test_plans_that_are_none_are_refused_in_one_line(
    config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    settings = config(strategy="of_mine:Level", data__devices=10)
    kind: Any = loading.load("of_mine:Level")
    monkeypatch.setattr(kind, "plans", eval(f"lambda self, profiles: {wrong}", {"np": __import__("numpy")}))
    with pytest.raises(ChordError, match=r"^Level.plans: found float64 \[.*, expected codes 0 to 3, uint8 \[10, 80\]$"):
        simulate(settings, tmp_path)


def test_a_flower_strategy_of_ones_own_is_hosted_with_its_options(config: Make, tmp_path: Path) -> None:
    settings = config(strategy="of_mine:Half", strategy_options={"share": 0.2, "fraction_evaluate": 0.5})
    finished = simulate(settings, tmp_path)
    assert isinstance(finished.strategy, Hosted) and type(finished.strategy.guest).__name__ == "Half"
    assert finished.summary["not_sampled"] == 45 and (finished.devices["uplink_bytes"] > 0).sum() == 18
    loading.check(config(strategy="of_mine:OwnAverage"), 90)


def test_names_of_the_package_are_as_before(config: Make) -> None:
    assert all(issubclass(loading.load(name), DeviceStrategy) for name in STRATEGIES)
