"""Flower's own strategies, unmodified: what they compute, what it costs, and what peers can do to them."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from flwr.app import Array, ArrayRecord, Message, MetricRecord
from flwr.serverapp import strategy as flower

from chord_fl.config import Config
from chord_fl.data import dataset
from chord_fl.device.model import unpack
from chord_fl.device.ranking import local, ranks_of_weights
from chord_fl.device.updates import mean_update
from chord_fl.errors import ChordError, ConfigError
from strategies.arrays import array_bytes, read_arrays
from strategies.base import MostDevicesFailedError
from strategies.hosted import Hosted
from tests.faults import NODE_1, VICTIM, check_failed, edited
from tests.inprocess import DEVICES, PACE, TIMES, Finished, only, simulate

Make = Callable[..., Config]

FLOWER = "flwr.serverapp.strategy:"
FEDAVG = f"{FLOWER}FedAvg"
FEW = 7  # where every device has a node of its own, and a block of computations to itself


class Remembering(flower.FedAvg):
    """FedAvg that keeps what it was given and made."""

    averages_replies = True

    def aggregate_train(self, server_round: int, replies: Any) -> Any:
        self.replies = list(replies)
        self.made = super().aggregate_train(server_round, self.replies)
        return self.made


REMEMBERING = f"{__name__}:Remembering"


def made(finished: Finished) -> np.ndarray:
    guest: Any = finished.strategy.guest  # type: ignore[attr-defined]
    arrays = guest.made[0]
    return np.concatenate([arrays[name].numpy().ravel() for name in sorted(arrays)])


def everybody(finished: Finished, config: Config) -> tuple[Any, Any]:
    """The model that all devices downloaded, and what they know."""
    shipment = finished.strategy.shipment
    model = unpack(shipment.path.read_bytes(), shipment.sha256)
    return model, local(model, dataset.load(config.data, config.seed).slice(0, finished.strategy.record.devices), False)


def steady(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.drop(columns=[name for name in (*TIMES, *PACE) if name in frame])


def test_fedavg_over_devices_is_the_mean_by_examples_of_what_each_learns(config: Make, tmp_path: Path) -> None:
    settings = config(strategy=REMEMBERING, simulation__devices_per_node=1, data__devices=FEW)
    finished = simulate(settings, tmp_path, nodes=FEW)
    assert isinstance(finished.strategy, Hosted)
    guest: Any = finished.strategy.guest
    model, mine = everybody(finished, settings)
    trained = finished.strategy.trained.model
    start = [part.clone() for part in trained.matrices()], [bias.detach() for bias in trained.backbone.biases]
    for device in (0, 3, FEW - 1):  # one device per node: a reply is a device's own, bit for bit
        wanted = mean_update(model, mine.history[device : device + 1], start, 2, 0.05, 0.0)
        reply = guest.replies[device].content
        weights, biases = read_arrays(reply.array_records["arrays"], model.layout)
        assert all((a == b).all() for a, b in zip(weights + biases, wanted.weights + wanted.biases, strict=True))
        assert dict(reply.metric_records["metrics"]) == {"num-examples": wanted.examples, "train_loss": wanted.loss}
    both = mean_update(model, mine.history, start, 2, 0.05, 0.0)
    weights, biases = read_arrays(guest.made[0], model.layout)
    for one, other in zip(weights + biases, both.weights + both.biases, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)
    ranks = ranks_of_weights(
        model, mine, [torch.from_numpy(part) for part in weights], None, [torch.from_numpy(part) for part in biases]
    )
    assert finished.devices["rank"].tolist() == ranks.tolist()


def test_fedavg_over_cohorts_is_fedavg_over_devices(config: Make, tmp_path: Path) -> None:
    few, many = (simulate(config(strategy=REMEMBERING), tmp_path / str(nodes), nodes) for nodes in (2, 7))
    np.testing.assert_allclose(made(few), made(many), rtol=1e-5, atol=1e-7)
    bytes_ = ["uplink_bytes", "downlink_bytes", "envelope_bytes", "virtual_seconds", "joules", "status"]
    pd.testing.assert_frame_equal(few.devices[bytes_], many.devices[bytes_])
    assert len(few.strategy.guest.replies) == 2  # type: ignore[attr-defined]


def test_the_same_seed_gives_the_same_results_in_whatever_order_nodes_answer(config: Make, tmp_path: Path) -> None:
    settings = config(strategy=FEDAVG, strategy_options={"fraction_train": 0.3, "fraction_evaluate": 0.5})
    before = random.getstate()
    one, other = (simulate(settings, tmp_path / str(seed), seed=seed) for seed in (1, 2))
    pd.testing.assert_frame_equal(steady(one.devices), steady(other.devices), check_exact=True)
    assert random.getstate() == before


def test_bytes_are_weights_down_twice_and_up_once(config: Make, tmp_path: Path) -> None:
    finished = simulate(config(strategy=FEDAVG, simulation__rounds=2), tmp_path)
    ledger, model = finished.ledger, finished.strategy.trained.model
    size = array_bytes(model.spec.layout)
    weights = ledger[ledger["purpose"] == "weights"]
    sums = weights.groupby(["round", "device", "direction"], observed=True)["payload_bytes"].agg(["sum", "count"])
    assert len(sums) == 2 * DEVICES * 2
    assert (sums.xs("up", level="direction") == [size, 1]).all(axis=None)
    assert (sums.xs("down", level="direction") == [2 * size, 2]).all(axis=None)
    assert (weights["envelope_bytes"] > 0).all() and set(ledger["purpose"]) == {"provisioning", "weights"}
    shipment = len(finished.strategy.shipment.payload)
    assert ledger.loc[ledger["purpose"] == "provisioning", "payload_bytes"].tolist() == [shipment] * DEVICES
    assert finished.summary["adaptation_bytes"] == 2 * 3 * size * DEVICES
    sent = [message for message in finished.grid.sent if message.metadata.message_type == "train"]
    assert len(sent) == 2 * 3, "a cohort gets the weights once, its devices are charged one by one"


def test_devices_that_are_not_sampled_take_no_part_and_cost_nothing(config: Make, tmp_path: Path) -> None:
    options = {"fraction_train": 0.2, "fraction_evaluate": 0.5}
    finished = simulate(config(strategy=FEDAVG, strategy_options=options), tmp_path)
    rows, ledger = finished.devices, finished.ledger
    asked = rows["status"] == "ok"
    assert asked.sum() == 45 and (rows.loc[~asked, "status"] == "not_sampled").all()
    assert finished.summary["not_sampled"] == 45 and finished.summary["failures"] == 0
    assert (rows["error"] == "").all() and (rows.loc[~asked, "rank"] == 0).all()
    trained = set(ledger.loc[ledger["direction"] == "up", "device"])
    assert len(trained) == 18 and set(ledger["device"]) == trained | set(rows.loc[asked, "device"])
    assert (rows["virtual_seconds"] > 0).tolist() == rows["device"].isin(ledger["device"]).tolist()


def test_training_alone_and_ranking_alone_are_rounds_too(config: Make, tmp_path: Path) -> None:
    only_training = config(strategy=FEDAVG, strategy_options={"fraction_evaluate": 0.0}, simulation__rounds=2)
    rows = simulate(only_training, tmp_path / "train").devices
    assert len(rows) == 2 * DEVICES and set(rows["status"]) == {"not_sampled"} and (rows["uplink_bytes"] > 0).all()
    only_ranking = config(strategy=FEDAVG, strategy_options={"fraction_train": 0.0}, simulation__rounds=2)
    ranked = simulate(only_ranking, tmp_path / "rank").devices
    static = simulate(config(strategy="static", simulation__rounds=2), tmp_path / "static").devices
    assert ranked["rank"].tolist() == static["rank"].tolist(), "the global weights are those that were trained"
    nothing = config(strategy=FEDAVG, strategy_options={"fraction_train": 0.0, "fraction_evaluate": 0.0})
    with pytest.raises(ChordError, match="asked no device for anything"):
        simulate(nothing, tmp_path / "nothing")


@pytest.mark.parametrize("name", ["FedProx", "FedAvgM", "FedAdagrad", "FedAdam", "FedYogi"])
def test_the_others_that_average_run_in_cohorts(config: Make, tmp_path: Path, name: str) -> None:
    options = {"proximal_mu": 15.0} if name == "FedProx" else {}
    settings = config(strategy=FLOWER + name, strategy_options=options, simulation__rounds=2)
    finished = simulate(settings, tmp_path / name)
    assert (finished.devices["status"] == "ok").all() and set(finished.devices["strategy"]) == {name}
    ranks = finished.devices["rank"].tolist()
    plain = simulate(config(strategy=FEDAVG, simulation__rounds=2), tmp_path / "FedAvg").devices["rank"].tolist()
    assert (ranks == plain) == (name == "FedAvgM"), "all but one, which has no momentum by default, go another way"


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("Krum", {}),
        ("MultiKrum", {"num_nodes_to_select": 3}),
        ("Bulyan", {}),
        ("FedMedian", {}),
        ("FedTrimmedAvg", {}),
        ("QFedAvg", {"client_learning_rate": 0.05}),
    ],
)
def test_those_that_look_at_each_update_need_a_node_per_device(
    config: Make, tmp_path: Path, name: str, options: dict[str, Any]
) -> None:
    settings = config(strategy=FLOWER + name, strategy_options=options, data__devices=4)
    with pytest.raises(
        ConfigError, match=f"{name}': it looks at every device's update apart: add --devices-per-node 1"
    ):
        simulate(settings, tmp_path / "cohorts")
    alone = settings.model_copy(update={"simulation": settings.simulation.model_copy(update={"devices_per_node": 1})})
    assert (simulate(alone, tmp_path / "apart", nodes=4).devices["status"] == "ok").all()


def test_everything_that_befalls_a_phone_befalls_it_here(config: Make, tmp_path: Path) -> None:
    rates = {f"faults__{name}": 0.15 for name in ("dropout", "lost", "corrupted", "battery")}
    world: dict[str, Any] = {"population__source": "commuters", "population__availability": "diurnal", **rates}
    settings = config(strategy=FEDAVG, simulation__rounds=2, clock__deadline=0.35, **world)
    one, other = (simulate(settings, tmp_path / str(nodes), nodes) for nodes in (2, 9))
    statuses = set(one.devices["status"])
    assert {"ok", "offline", "dropped", "late", "lost", "corrupted"} <= statuses and "failed" not in statuses
    columns = ["status", "virtual_seconds", "joules", "uplink_bytes", "downlink_bytes"]
    pd.testing.assert_frame_equal(one.devices[columns], other.devices[columns])
    rows = one.devices
    assert (rows.loc[rows["status"] == "offline", ["uplink_bytes", "downlink_bytes"]] == 0).all(axis=None)
    assert ((rows["error"] == "") == (rows["status"] == "ok")).all()
    tight = simulate(config(strategy=FEDAVG, population__constrain=True), tmp_path / "tight").devices
    finetune = simulate(config(strategy="finetune", population__constrain=True), tmp_path / "finetune").devices
    assert tight["status"].tolist() == finetune["status"].tolist() and "cannot_hold" in set(tight["status"])


def test_who_is_late_or_lost_is_not_in_the_mean(config: Make, tmp_path: Path) -> None:
    settings = config(strategy=REMEMBERING, faults__lost=0.4)
    finished = simulate(settings, tmp_path)
    guest: Any = finished.strategy.guest
    model, mine = everybody(finished, settings)
    rows, ledger = finished.devices, finished.ledger
    lost = rows["error"] == "update lost on its way"
    assert 10 < lost.sum() < 60 and len(ledger[ledger["direction"] == "up"]) == DEVICES, "a lost update was sent"
    trained = finished.strategy.trained.model
    start = [part.clone() for part in trained.matrices()], [bias.detach() for bias in trained.backbone.biases]
    wanted = mean_update(model, mine.history[np.flatnonzero(~lost)], start, 2, 0.05, 0.0)
    np.testing.assert_allclose(read_arrays(guest.made[0], model.layout)[0][0], wanted.weights[0], rtol=1e-5, atol=1e-7)


def test_candidates_work_as_elsewhere(config: Make, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"simulation__candidates": 20}
    still = config(strategy=FEDAVG, strategy_options={"fraction_train": 0.0}, **changes)
    hosted = simulate(still, tmp_path / "hosted")
    static = simulate(config(strategy="static", **changes), tmp_path / "static")
    assert hosted.devices["rank"].tolist() == static.devices["rank"].tolist()
    mine, theirs = (run.by_purpose()["payload_bytes"]["candidates"] for run in (hosted, static))
    pd.testing.assert_series_equal(mine, theirs)


# --- what peers can do -----------------------------------------------------------------------------------------------


def arrays(change: Callable[[dict[str, Array]], None]) -> Any:
    def edit(content: Any) -> None:
        found = dict(content.array_records["arrays"])
        change(found)
        content["arrays"] = ArrayRecord(found)

    return edit


def numbers(**changed: Any) -> Any:
    def edit(content: Any) -> None:
        found = {**content.metric_records["metrics"], **changed}
        content["metrics"] = MetricRecord({name: value for name, value in found.items() if value is not None})

    return edit


def nan_in(found: dict[str, Array]) -> None:
    values = found["block0.value.bias"].numpy().copy()
    values[3] = np.nan
    found["block0.value.bias"] = Array(values)


BAD_UPDATES: dict[str, tuple[Any, str]] = {
    "no arrays": (lambda content: content.pop("arrays"), "arrays"),
    "an array less": (arrays(lambda found: found.pop("block0.key.weight")), "block0.key.weight is missing"),
    "an array more": (arrays(lambda found: found.update(extra=Array(np.zeros(2)))), "extra is unknown"),
    "another shape": (arrays(lambda found: found.update({"block0.key.bias": Array(np.zeros(3))})), "block0.key.bias"),
    "not a number": (arrays(nan_in), "block0.value.bias holds a value that is not finite"),
    "no numbers": (lambda content: content.pop("metrics"), "metrics"),
    "no examples": (numbers(**{"num-examples": None}), "num-examples"),
    "negative examples": (numbers(**{"num-examples": -5}), "num-examples"),
    "examples without end": (numbers(**{"num-examples": float("inf")}), "num-examples"),
    "all the weight": (numbers(**{"num-examples": 2**60}), "num-examples"),
    "a list of losses": (numbers(train_loss=[1.0, 2.0]), "train_loss"),
    "a number more": (numbers(extra=1.0), "extra"),
}


@pytest.mark.parametrize("what", BAD_UPDATES)
def test_a_bad_update_costs_its_own_node_only(config: Make, tmp_path: Path, what: str) -> None:
    edit, reason = BAD_UPDATES[what]
    finished = simulate(config(strategy=REMEMBERING), tmp_path, on_reply=only(1, edited(edit), "train"))
    check_failed(finished, NODE_1, "malformed reply: ")
    assert reason in finished.devices["error"][VICTIM]
    assert len(finished.strategy.guest.replies) == 2 and np.isfinite(made(finished)).all()  # type: ignore[attr-defined]


def test_bad_metrics_of_a_ranking_cost_their_own_node_only(config: Make, tmp_path: Path) -> None:
    hook = only(1, edited(numbers(**{"ndcg@10": float("nan")})), "evaluate")
    check_failed(simulate(config(strategy=FEDAVG), tmp_path, on_reply=hook), NODE_1, "ndcg@10: found nan")


@pytest.mark.parametrize("kind", ["train", "evaluate"])
def test_bad_global_weights_are_refused_by_the_devices(config: Make, tmp_path: Path, kind: str) -> None:
    finished = simulate(config(strategy=FEDAVG), tmp_path, on_message=only(1, edited(arrays(nan_in)), kind))
    check_failed(finished, NODE_1, "WireError: arrays: block0.value.bias holds a value that is not finite")


@pytest.mark.parametrize("mu", [-1.0, float("nan"), "much", [1.0]])
def test_a_proximal_term_that_is_none_is_refused_by_the_devices(config: Make, tmp_path: Path, mu: Any) -> None:
    def edit(content: Any) -> None:
        content.config_records["config"]["proximal-mu"] = mu

    finished = simulate(config(strategy=FEDAVG), tmp_path, on_message=only(1, edited(edit), "train"))
    check_failed(finished, NODE_1, "ValueError: proximal-mu: found ")


@pytest.mark.parametrize("kind", ["query.session", "train", "evaluate"])
def test_a_node_that_never_answers_costs_its_own_devices_only(config: Make, tmp_path: Path, kind: str) -> None:
    finished = simulate(config(strategy=FEDAVG), tmp_path, on_message=only(1, lambda message, place: None, kind))
    check_failed(finished, NODE_1, "its node does not answer" if kind == "query.session" else "no reply in time")


def test_when_most_fail_the_run_ends(config: Make, tmp_path: Path) -> None:
    with pytest.raises(MostDevicesFailedError, match="round 1: 90 of 90 devices failed"):
        simulate(
            config(strategy=FEDAVG, simulation__rounds=3),
            tmp_path,
            on_message=lambda message, at: only(at, edited(arrays(nan_in)), "train")(message, at),
        )
    assert len(pd.read_parquet(tmp_path / "devices.parquet")) == DEVICES


# --- strategies of the user's own -------------------------------------------------------------------------------------


def test_a_start_of_its_own_is_the_one_that_runs(config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called = []

    def start(self: Any, *args: Any, **kwargs: Any) -> Any:
        called.append((args, kwargs))
        return flower.FedAvg.start(self, *args, **kwargs)

    monkeypatch.setattr(Remembering, "start", start, raising=False)
    assert (simulate(config(strategy=REMEMBERING), tmp_path).devices["status"] == "ok").all() and len(called) == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda m: setattr(m.metadata, "message_type", "train.mine"), "train.mine"),
        (lambda m: m.content.update(more=ArrayRecord()), "2 records of arrays"),
        (lambda m: m.content.update(request=MetricRecord()), "'request', our own name"),
        (lambda m: setattr(m.metadata, "dst_node_id", 4000), "4000, which is no node"),
    ],
)
def test_what_no_device_here_understands_ends_the_run_in_one_line(
    config: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Message], None],
    reason: str,
) -> None:
    def configure_train(self: Any, *args: Any) -> Any:
        messages = list(flower.FedAvg.configure_train(self, *args))
        change(messages[0])
        return messages

    monkeypatch.setattr(Remembering, "configure_train", configure_train, raising=False)
    with pytest.raises(ChordError, match=reason) as caught:
        simulate(config(strategy=REMEMBERING), tmp_path)
    assert "\n" not in str(caught.value)


def test_devices_may_get_different_weights(config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every second device gets zeros: it says so by how it ranks, whoever shares its node."""

    def configure_evaluate(self: Any, server_round: int, arrays: ArrayRecord, settings: Any, grid: Any) -> Any:
        zeros = ArrayRecord({name: Array(np.zeros_like(array.numpy())) for name, array in arrays.items()})
        own = list(flower.FedAvg.configure_evaluate(self, server_round, arrays, settings, grid))
        other = list(flower.FedAvg.configure_evaluate(self, server_round, zeros, settings, grid))
        even = [message for message in own if message.metadata.dst_node_id % 2]
        return even + [message for message in other if not message.metadata.dst_node_id % 2]

    plain = simulate(config(strategy=REMEMBERING), tmp_path / "plain").devices["rank"]
    monkeypatch.setattr(Remembering, "configure_evaluate", configure_evaluate, raising=False)
    mixed = [simulate(config(strategy=REMEMBERING), tmp_path / str(n), n).devices["rank"] for n in (2, 7)]
    assert mixed[0].tolist() == mixed[1].tolist()
    assert mixed[0][::2].tolist() == plain[::2].tolist() and mixed[0][1::2].tolist() != plain[1::2].tolist()
