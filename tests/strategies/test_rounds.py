"""A round of each strategy against the same computed without Flower, straight from the device's and cloud's parts."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from chord_fl.cloud.candidates import sample
from chord_fl.config import Config
from chord_fl.data import dataset
from chord_fl.device import population, resources, states
from chord_fl.device.adaptation import Fitted, fit
from chord_fl.device.finetuning import ranks_after_finetuning
from chord_fl.device.model import DeviceModel, unpack
from chord_fl.device.ranking import Candidates, Local, local, profiles, ranks_of_plans, ranks_of_weights
from chord_fl.device.resources import Resources
from chord_fl.metrics import strangers
from chord_fl.models.layouts import Layout
from chord_fl.quantization.packed import packed_bytes
from strategies import STRATEGIES
from strategies.chord import PlanStrategy
from tests.inprocess import DEVICES, ITEMS, Finished, assert_same_results, simulate

Make = Callable[..., Config]


class Uniform(PlanStrategy):
    """What a user writes for another way of making plans: 4 bits for everybody."""

    def plans(self, profiles: NDArray[np.float32]) -> NDArray[np.uint8]:
        return np.ones((len(profiles), self.trained.model.spec.layout.channels), dtype=np.uint8)


@pytest.fixture
def uniform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STRATEGIES, "uniform", f"{__name__}:Uniform")


@dataclass(frozen=True)
class Alone:
    """All devices, with what they downloaded in a run, outside Flower."""

    finished: Finished
    config: Config

    @property
    def model(self) -> DeviceModel:
        shipment = self.finished.strategy.shipment
        return unpack(shipment.path.read_bytes(), shipment.sha256)

    @property
    def layout(self) -> Layout:
        return self.model.layout

    @property
    def local(self) -> Local:
        interactions = dataset.load(self.config.data, self.config.seed).slice(0, DEVICES)
        return local(self.model, interactions, self.config.simulation.seen == "exclude")

    def resources(self, round_: int = 1) -> Resources:
        seed, weights = self.config.seed, self.layout.weights
        phones = population.traits("phones", seed, 0, DEVICES)
        then = states.state(phones, seed, 0, self.started(round_))
        return resources.draw(phones, then, seed, round_, 0, 4 * weights, weights)

    def started(self, round_: int) -> float:
        return float(self.finished.rounds.set_index("round")["virtual_start"][round_])

    def codes(self) -> NDArray[np.uint8]:
        """The plans that CHORD's cloud makes of float16 profiles."""
        heard = profiles(self.model, self.local.history).astype(np.float16).astype(np.float32)
        cloud: Any = self.finished.strategy.trained.model
        with torch.inference_mode():
            return cloud.plan(torch.from_numpy(heard)).codes.numpy()

    def fitted(self, codes: NDArray[np.uint8], round_: int = 1) -> Fitted:
        return fit(codes, self.resources(round_), self.model.demotions)

    def average_bits(self, codes: NDArray[np.uint8]) -> NDArray[np.float64]:
        sizes = self.layout.sizes
        return (np.array(self.model.spec.levels)[codes] * sizes).sum(1) / sizes.sum()


def check_figures(finished: Finished) -> None:
    """The metrics of rows and summary follow from the ranks; rows are complete and in order."""
    rows, summary = finished.devices, finished.summary
    assert rows["device"].tolist() == list(range(DEVICES))
    assert (rows["error"] == "").all() and summary["failures"] == 0
    ranks = rows["rank"].to_numpy()
    assert ((ranks >= 1) & (ranks <= ITEMS)).all()
    for cutoff in (5, 10):
        hits = ranks <= cutoff
        gains = np.where(hits, 1 / np.log2(ranks + 1), 0.0)
        assert summary[f"hr@{cutoff}"] == pytest.approx(hits.mean())
        assert summary[f"ndcg@{cutoff}"] == pytest.approx(gains.mean())
    np.testing.assert_array_equal(rows["hr@10"], hits)
    np.testing.assert_allclose(rows["ndcg@10"], gains)
    assert summary["average_bits"] == pytest.approx(rows["average_bits"].mean())
    assert summary["over_memory_budget"] == (rows["memory_bytes"] > rows["memory_budget_bytes"]).sum()
    assert (rows["seconds"] > 0).all() and (rows["seconds"] >= rows["adaptation_seconds"]).all()
    assert summary["rounds"] == rows["round"].nunique() == len(finished.rounds)


@pytest.mark.parametrize("seen", ["keep", "exclude"])
def test_chord_is_profile_plan_fit_and_rank(config: Make, tmp_path: Path, seen: str) -> None:
    settings = config(strategy="chord", simulation__seen=seen)
    finished = simulate(settings, tmp_path)
    check_figures(finished)
    rows, alone = finished.devices, Alone(finished, settings)
    codes = alone.codes()
    fitted = alone.fitted(codes)
    np.testing.assert_array_equal(rows["rank"], ranks_of_plans(alone.model, alone.local, fitted.codes))
    np.testing.assert_array_equal(rows["memory_bytes"], fitted.memory_bytes)
    np.testing.assert_array_equal(rows["memory_budget_bytes"], alone.resources().memory_bytes)
    np.testing.assert_allclose(rows["average_bits"], alone.average_bits(fitted.codes))
    others = alone.fitted(codes[strangers(DEVICES, settings.seed)])
    control = ranks_of_plans(alone.model, alone.local, others.codes)
    np.testing.assert_array_equal(rows["rank_stranger"], control)
    assert finished.summary["hr@10_stranger"] == pytest.approx((control <= 10).mean())
    pairs = [(codes[a] != codes[b]).mean() for a in range(DEVICES) for b in range(a)]
    assert finished.summary["plan_difference"] == pytest.approx(np.mean(pairs))
    assert finished.summary["plan_difference"] > 0, "else this test cannot tell one plan from another"


@pytest.mark.parametrize("seen", ["keep", "exclude"])
@pytest.mark.parametrize("bits", [32, 3])
def test_static_is_the_shipped_weights(config: Make, tmp_path: Path, bits: int, seen: str) -> None:
    settings = config(strategy="static", static__bits=bits, simulation__seen=seen)
    finished = simulate(settings, tmp_path)
    check_figures(finished)
    rows, alone = finished.devices, Alone(finished, settings)
    np.testing.assert_array_equal(rows["rank"], ranks_of_weights(alone.model, alone.local, alone.model.weights))
    assert (rows["average_bits"] == bits).all()
    full = 4 * alone.layout.weights
    packed = int(packed_bytes(np.full((1, alone.layout.channels), bits), alone.layout.sizes)[0])
    assert (rows["memory_bytes"] == (full if bits == 32 else packed)).all()
    assert (rows["rank_stranger"] == 0).all() and (rows["adaptation_seconds"] == 0).all()
    assert np.isnan(finished.summary["hr@10_stranger"]) and np.isnan(finished.summary["plan_difference"])


def test_finetune_is_training_on_the_own_history_then_rank(config: Make, tmp_path: Path) -> None:
    settings = config(strategy="finetune", static__bits=3, finetune__steps=3)
    finished = simulate(settings, tmp_path)
    check_figures(finished)
    rows, alone = finished.devices, Alone(finished, settings)
    ranks, _ = ranks_after_finetuning(alone.model, alone.local, 3, settings.finetune.learning_rate)
    np.testing.assert_array_equal(rows["rank"], ranks)
    assert (rows["average_bits"] == 32).all() and (rows["adaptation_seconds"] > 0).all()
    unchanged = ranks_of_weights(alone.model, alone.local, alone.model.weights)
    assert (ranks != unchanged).any(), "else the training did nothing"


@pytest.mark.parametrize("seen", ["keep", "exclude"])
def test_candidates_are_ranked_among_themselves_with_the_target_in_the_last_place(
    config: Make, tmp_path: Path, seen: str
) -> None:
    settings = config(strategy="static", simulation__candidates=20, simulation__seen=seen)
    finished = simulate(settings, tmp_path)
    check_figures(finished)
    alone = Alone(finished, settings)
    items = torch.from_numpy(sample(settings.seed, 1, np.arange(DEVICES), ITEMS, 20).astype(np.int64))
    mine = alone.local
    absent = ~(items == mine.targets[:, None]).any(1)
    assert 0 < absent.sum() < DEVICES, "both cases must occur"
    items[absent, -1] = mine.targets[absent]
    candidates = Candidates(items, alone.model.backbone.items.weight[items])
    ranks = ranks_of_weights(alone.model, mine, alone.model.weights, candidates)
    np.testing.assert_array_equal(finished.devices["rank"], ranks)
    assert ranks.max() <= 20


def test_resources_and_rows_of_every_round(config: Make, tmp_path: Path) -> None:
    settings = config(strategy="chord", simulation__rounds=2)
    finished = simulate(settings, tmp_path)
    rows, alone = finished.devices, Alone(finished, settings)
    assert rows["round"].tolist() == [1] * DEVICES + [2] * DEVICES
    assert rows["device"].tolist() == 2 * list(range(DEVICES))
    assert finished.rounds["round"].tolist() == [1, 2] and finished.summary["rounds"] == 2
    budgets = []
    for round_ in (1, 2):
        here, fitted = rows[rows["round"] == round_], alone.fitted(alone.codes(), round_)
        np.testing.assert_array_equal(here["memory_bytes"], fitted.memory_bytes)
        np.testing.assert_array_equal(here["rank"], ranks_of_plans(alone.model, alone.local, fitted.codes))
        row = finished.rounds.set_index("round").loc[round_]
        assert row["hr@10"] == pytest.approx(here["hr@10"].mean())
        assert row["downlink_bytes"] == here["downlink_bytes"].sum()
        budgets.append(here["memory_budget_bytes"].to_numpy())
    assert (budgets[0] != budgets[1]).any(), "the moment changes from round to round"


def test_a_run_does_not_depend_on_when_its_rounds_are_computed(config: Make, tmp_path: Path) -> None:
    one = simulate(config(strategy="chord"), tmp_path / "one").devices
    two = simulate(config(strategy="chord", simulation__rounds=2), tmp_path / "two").devices
    assert_same_results(one, two[two["round"] == 1])


@pytest.mark.parametrize("beta", [0.125, 0.4])
def test_devices_keep_within_memory_where_the_smallest_variant_fits(
    config: Make, tmp_path_factory: pytest.TempPathFactory, beta: float
) -> None:
    checkpoint = str(tmp_path_factory.mktemp("checkpoint"))  # beta is part of what a checkpoint depends on
    settings = config(strategy="chord", model__beta=beta, train__checkpoint=checkpoint)
    finished = simulate(settings, tmp_path_factory.mktemp("run"))
    rows, alone = finished.devices, Alone(finished, settings)
    smallest = int(packed_bytes(np.full((1, alone.layout.channels), 2), alone.layout.sizes)[0])
    affordable = rows["memory_budget_bytes"] >= smallest
    assert affordable.any() and not affordable.all()
    assert (rows["memory_bytes"] <= rows["memory_budget_bytes"])[affordable].all()
    assert (rows["memory_bytes"] == smallest)[~affordable].all(), "nothing smaller exists"
    assert finished.summary["over_memory_budget"] == (~affordable).sum()
    planned = alone.average_bits(alone.codes())
    assert (rows["average_bits"] <= planned).all()
    assert (rows["average_bits"][affordable] < planned[affordable]).any(), "some device must have been short"
    assert (rows["average_bits"] == planned).any(), "some device must have had enough"


def test_another_way_of_making_plans_is_a_few_lines(config: Make, tmp_path: Path, uniform: None) -> None:
    settings = config(strategy="uniform")
    finished = simulate(settings, tmp_path)
    check_figures(finished)
    rows, alone = finished.devices, Alone(finished, settings)
    sizes, found = alone.layout.sizes, alone.resources()
    memory = packed_bytes(np.full((1, len(sizes)), 4), sizes)[0]
    enough = (found.memory_bytes >= memory) & (found.compute >= 4 * sizes.sum()) & (found.battery >= 0.2)
    assert 0 < enough.sum() < DEVICES
    assert (rows["average_bits"][enough] == 4).all() and (rows["average_bits"][~enough] < 4).all()
    assert finished.summary["plan_difference"] == 0
    np.testing.assert_array_equal(rows["rank_stranger"], rows["rank"])
    assert (rows["strategy"] == "uniform").all() and finished.summary["strategy"] == "uniform"


def test_a_single_device_has_no_stranger(config: Make, tmp_path: Path) -> None:
    finished = simulate(config(strategy="chord", data__devices=1), tmp_path, nodes=1)
    rows = finished.devices
    assert rows["error"].tolist() == [""] and rows["rank_stranger"].tolist() == [0]
    assert np.isnan(finished.summary["plan_difference"]) and "control" not in set(finished.ledger["purpose"])


@pytest.mark.parametrize("changes", [{}, {"simulation__candidates": 20}])
@pytest.mark.parametrize("strategy", ["chord", "static", "finetune"])
def test_nodes_without_devices_do_no_harm(config: Make, tmp_path: Path, strategy: str, changes: dict[str, Any]) -> None:
    settings = config(strategy=strategy, data__devices=5, **changes)
    few = simulate(settings, tmp_path / "few", nodes=2).devices
    many = simulate(settings, tmp_path / "any", nodes=8).devices
    assert_same_results(few, many)
    assert (few["error"] == "").all()
