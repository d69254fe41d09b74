"""Devices that live: budgets hold for every row, every loss has its status, nothing depends on cohorts or company."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from flwr.app import Context, Message

from chord_fl.config import Config, make_config
from chord_fl.device.population import traits
from chord_fl.device.states import state
from chord_fl.trees import overlay
from simulations import client_app
from simulations.settings import preset
from strategies.base import MostDevicesFailedError
from strategies.rounds import IDLE_SECONDS
from tests.inprocess import DEVICES, PACE, Finished, assert_same_results, simulate

Make = Callable[..., Config]

STATUSES = ("ok", "failed", "offline", "dropped", "late", "lost", "corrupted", "battery", "cannot_hold", "waiting")
EVERYTHING: dict[str, Any] = {
    "population__constrain": True,
    "population__source": "commuters",
    "simulation__rounds": 3,
    "clock__interval": 3600.0,
    "clock__deadline": 0.6,
    **{f"faults__{name}": 0.1 for name in ("dropout", "lost", "corrupted", "battery")},
}


def counts(finished: Finished) -> dict[str, int]:
    """Rows by status; and what must hold whatever they are."""
    rows, summary = finished.devices, finished.summary
    found = rows["status"].value_counts().to_dict()
    assert set(found) <= set(STATUSES) and len(rows) == DEVICES * summary["rounds"]
    for status in STATUSES[2:]:
        assert summary[status] == found.get(status, 0) == finished.rounds[status].sum()
    assert summary["failures"] == found.get("failed", 0)
    good = rows["status"] == "ok"
    assert ((rows["error"] == "") == good).all() and ((rows["rank"] > 0) == good).all()
    results = ["rank", "rank_stranger", "average_bits", "memory_bytes", "ndcg@10", "hr@10"]
    assert (rows.loc[~good, results] == 0).all(axis=None)
    return found


def file_of(folder: Path, **columns: Any) -> str:
    """A population of the user's own: phones with plenty of everything but what `columns` say."""
    plenty = {"memory_bytes": 1e9, "score": 1e6, "downlink": 1e6, "uplink": 1e6, "metered": 0.0, "busy": 0.0}
    path = folder / "mine.csv"
    pd.DataFrame({**plenty, **columns}, index=range(max(np.size(value) for value in columns.values()))).to_csv(
        path, index=False
    )
    return str(path)


# --- budgets ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strategy", "changes"),
    [("chord", {}), ("static", {}), ("static", {"static__bits": 3}), ("finetune", {}), ("popular", {})],
)
def test_budgets_hold_for_every_row_with_a_result(
    config: Make, tmp_path: Path, strategy: str, changes: dict[str, Any]
) -> None:
    settings = config(strategy=strategy, population__constrain=True, simulation__rounds=2, **changes)
    finished = simulate(settings, tmp_path)
    found, rows = counts(finished), finished.devices
    good = rows[rows["status"] == "ok"]
    assert set(found) == {"ok", "cannot_hold"}, "both must occur, and nothing else"
    assert (good["memory_bytes"] <= good["memory_budget_bytes"]).all() and finished.summary["over_memory_budget"] == 0
    assert (good["uplink_bytes"] + good["downlink_bytes"] <= good["bandwidth_budget_bytes"]).all()
    if strategy == "chord":
        assert (good["average_bits"] <= good["bits_budget"] + 1e-9).all() and (good["bits_budget"] >= 2).all()
        assert (rows.loc[rows["status"] == "cannot_hold", "bits_budget"] < 2).all()
    reasons = rows.loc[rows["status"] == "cannot_hold", "error"]
    assert reasons.str.match(r"cannot (hold|run) [\d,.]+ (bytes|bits)").all()


def test_devices_that_can_have_what_they_have_without_budgets(config: Make, tmp_path: Path) -> None:
    free = simulate(config(strategy="static"), tmp_path / "free").devices
    bound = simulate(config(strategy="static", population__constrain=True), tmp_path / "bound").devices
    good = bound["status"] == "ok"
    assert 0 < good.sum() < DEVICES and (free["status"] == "ok").all()
    np.testing.assert_array_equal(bound.loc[good, "rank"], free.loc[good, "rank"])


def test_a_phone_on_a_metered_network_waits_for_another_to_download_its_model(config: Make, tmp_path: Path) -> None:
    source = file_of(tmp_path, metered=0.5, metered_bytes=1000.0)
    settings = config(
        **{"strategy": "chord", "population__constrain": True, "population__source": source},
        **{"simulation__rounds": 4, "clock__interval": 3600.0},
    )
    finished = simulate(settings, tmp_path / "run")
    counts(finished)
    rows, ledger = finished.devices, finished.ledger.astype({"purpose": str})
    stopped = rows["status"] == "cannot_hold"
    assert rows.loc[stopped, "error"].str.startswith("cannot move").all() and rows.loc[stopped, "metered"].all()
    first = ledger[ledger["purpose"] == "provisioning"].set_index("device")["round"]
    assert first.index.is_unique and set(first) == {1, 2, 3, 4}, "each once, when it could"
    for device, round_ in first.items():
        mine = rows[rows["device"] == device].set_index("round")["status"]
        assert (mine[mine.index < round_] == "cannot_hold").all() and (mine[mine.index >= round_] == "ok").all()
    later = rows[rows["metered"] & ~stopped]
    assert len(later) and (later["uplink_bytes"] + later["downlink_bytes"] <= 1000).all(), "a plan passes on any"


# --- faults ----------------------------------------------------------------------------------------------------------


def test_a_lost_profile_was_sent_and_gets_no_plan(config: Make, tmp_path: Path) -> None:
    finished = simulate(config(strategy="chord", faults__lost=1.0), tmp_path)
    assert counts(finished) == {"lost": DEVICES}, "and the run goes on: this was to be expected"
    assert (finished.devices["uplink_bytes"] > 0).all() and "plan" not in set(finished.ledger["purpose"])


def test_damaged_messages_are_refused_by_their_readers(config: Make, tmp_path: Path) -> None:
    finished = simulate(config(strategy="chord", faults__corrupted=0.4), tmp_path)
    found, rows = counts(finished), finished.devices
    damaged = rows[rows["status"] == "corrupted"]
    assert set(found) == {"ok", "corrupted"} and 30 < len(damaged) < 80
    assert damaged["error"].str.contains(": found .*, expected").all()
    planned = set(finished.ledger.astype({"purpose": str}).query("purpose == 'plan'")["device"])
    assert 0 < len(set(damaged["device"]) & planned) < len(damaged), "some on the way up, some on the way down"


@pytest.mark.parametrize("strategy", ["chord", "static"])
def test_who_leaves_has_no_result(config: Make, tmp_path: Path, strategy: str) -> None:
    finished = simulate(config(strategy=strategy, faults__dropout=0.3), tmp_path)
    found = counts(finished)
    assert set(found) == {"ok", "dropped"} and 10 < found["dropped"] < 45
    if strategy == "chord":
        assert (finished.devices["uplink_bytes"] > 0).all(), "they left after the profile"


def test_low_batteries_may_die_unless_they_charge(config: Make, tmp_path: Path) -> None:
    finished = simulate(config(strategy="chord", faults__battery=1.0), tmp_path)
    rows = finished.devices
    counts(finished)
    died = (rows["battery"] < 0.2) & ~rows["charging"]
    assert died.any() and ((rows["status"] == "battery") == died).all()


def test_a_battery_that_is_used_up_dies(config: Make, tmp_path: Path) -> None:
    """Three joules when full: enough for no fine-tuning of a thousand steps, or for one."""
    source = file_of(tmp_path, battery_wh=3 / 3600, charging=0.0, score=1.0)
    settings = config(
        strategy="finetune", finetune__steps=2, population__source=source, simulation__rounds=2, clock__wifi_watts=0.0
    )
    finished = simulate(settings, tmp_path / "run")
    found, rows = counts(finished), finished.devices
    assert found["battery"] > 0
    assert (rows["joules"] <= 3 + 1e-9).all()
    one, two = (rows[rows["round"] == round_].set_index("device") for round_ in (1, 2))
    assert (two["battery"] <= one["battery"]).all(), "what a round used is missing in the next"


def test_a_battery_gets_back_what_it_can_charge_between_rounds(config: Make, tmp_path: Path) -> None:
    """Joules of one round, in a world where time passes between rounds and where it does not."""
    source = file_of(tmp_path, battery_wh=1.0, charging=0.5, score=300.0)
    changes: dict[str, Any] = {"population__source": source, "simulation__rounds": 2, "clock__processor_watts": 5000.0}

    def missing(name: str, interval: float) -> pd.Series:
        """What is missing of the battery in the second round beside that of a phone that the simulation left alone."""
        settings = config(strategy="static", clock__interval=interval, **changes)
        rows = simulate(settings, tmp_path / name).devices
        phones = traits(source, settings.seed, 0, DEVICES)
        start = float(pd.read_csv(tmp_path / name / "rounds.csv")["virtual_start"][1])
        untouched = state(phones, settings.seed, 0, start).battery * phones.battery_joules
        second = rows[rows["round"] == 2]
        spent = rows.loc[(rows["round"] == 1) & ~rows["charging"], ["device", "joules"]].set_index("device")["joules"]
        now = pd.Series(untouched - second["battery"].to_numpy() * phones.battery_joules, second["device"])
        return now.reindex(spent.index) / spent

    soon, hours, day = missing("soon", 60.0), missing("hours", 4 * 3600.0), missing("day", 86_400.0)
    assert (soon > 0.9).mean() > 0.9, "a minute brings back nothing, or next to it"
    assert (hours <= soon + 1e-9).all() and 0.1 < (hours < 1e-9).mean() < 0.9, "who charged meanwhile is whole again"
    assert (day < 1e-9).all()


# --- the clock -------------------------------------------------------------------------------------------------------


def test_a_round_lasts_until_its_last_device(config: Make, tmp_path: Path) -> None:
    finished = simulate(config(strategy="chord", simulation__rounds=3), tmp_path)
    rounds, rows = finished.rounds, finished.devices
    assert rounds["virtual_start"].tolist() == [0.0, *rounds["virtual_seconds"][:-1]]
    lasted = rounds["virtual_seconds"] - rounds["virtual_start"]
    np.testing.assert_allclose(lasted, rows.groupby("round")["virtual_seconds"].max())
    assert finished.summary["virtual_seconds"] == rounds["virtual_seconds"].iloc[-1]
    assert finished.summary["joules"] == pytest.approx(rows["joules"].sum()) and (rows["joules"] > 0).all()
    first, later = (rows.loc[rows["round"] == round_, "virtual_seconds"].mean() for round_ in (1, 2))
    assert first > later, "the model is downloaded once"


def test_late_results_do_not_count(config: Make, tmp_path: Path) -> None:
    free = simulate(config(strategy="chord"), tmp_path / "free").devices
    deadline = float(free["virtual_seconds"].median())
    finished = simulate(config(strategy="chord", clock__deadline=deadline, simulation__rounds=2), tmp_path / "run")
    counts(finished)
    rows = finished.devices[finished.devices["round"] == 1]
    late = free["virtual_seconds"] > deadline
    assert (rows["status"] == "late").tolist() == late.tolist()
    assert rows.loc[late.to_numpy(), "error"].str.startswith("late: ").all()
    assert finished.rounds["virtual_seconds"][0] == pytest.approx(deadline), "the cloud waits for them until then"
    assert finished.summary["ndcg@10"] == pytest.approx(finished.devices.query("status == 'ok'")["ndcg@10"].mean())


def test_slower_phones_take_longer(config: Make, tmp_path: Path) -> None:
    source = file_of(tmp_path, downlink=[1e6, 1e4], uplink=[1e6, 1e4], metered_bytes=1e9)
    rows = simulate(config(strategy="chord", population__source=source), tmp_path / "run").devices
    fast, slow = (
        rows.loc[rows["device"] % 2 == 0, "virtual_seconds"],
        rows.loc[rows["device"] % 2 == 1, "virtual_seconds"],
    )
    assert slow.min() > 5 * fast.max()


def test_a_cost_model_of_ones_own_takes_the_place_of_the_clock(
    config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_clock.py").write_text(
        "import numpy as np\n"
        "from chord_fl.device.clock import Cost\n\n"
        "def cost(load, score, resources, state, constants, last):\n"
        "    return Cost(np.full(len(score), 3.0), np.full(len(score), 0.5 * constants.processor_watts))\n"
    )
    monkeypatch.setattr("sys.path", [*sys.path])
    monkeypatch.chdir(tmp_path)  # where a user's own modules are found
    settings = config(strategy="static", clock__cost="my_clock:cost", clock__processor_watts=4.0)
    rows = simulate(settings, tmp_path / "run").devices
    assert (rows["virtual_seconds"] == 3.0).all() and (rows["joules"] == 2.0).all()


def test_who_is_offline_does_nothing_and_is_not_waited_for(config: Make, tmp_path: Path) -> None:
    hours = {
        "never": {"active": [], "inactive": [], "finish_time": 86400},
        "at first": {"active": [0], "inactive": [1800], "finish_time": 86400},
        "later": {"active": [3000], "inactive": [9000], "finish_time": 86400},
    }
    (tmp_path / "behave.json").write_text(json.dumps(hours))
    settings = config(
        **{"strategy": "chord", "population__availability": str(tmp_path / "behave.json")},
        **{"simulation__rounds": 3, "clock__interval": 3600.0},
    )
    finished = simulate(settings, tmp_path / "run")
    rows = finished.devices
    assert counts(finished)["offline"] == 30 * 3 + 30 * 2 + 30 * 1
    there = {1: [1], 2: [2], 3: [2]}
    for round_, kinds in there.items():
        here = rows[rows["round"] == round_]
        assert ((here["status"] == "ok") == (here["device"] % 3).isin(kinds)).all()
    away = rows[rows["status"] == "offline"]
    assert (away[["uplink_bytes", "downlink_bytes", "virtual_seconds", "joules"]] == 0).all(axis=None)
    provisioned = finished.ledger.astype({"purpose": str}).query("purpose == 'provisioning'")
    assert (provisioned["round"] == provisioned["device"] % 3).all() and len(provisioned) == 60


def test_a_cloud_to_which_nobody_comes_looks_again(config: Make, tmp_path: Path) -> None:
    (tmp_path / "behave.json").write_text(json.dumps({"1": {"active": [70], "inactive": [900], "finish_time": 1000}}))
    settings = config(strategy="static", population__availability=str(tmp_path / "behave.json"), simulation__rounds=3)
    finished = simulate(settings, tmp_path / "run")
    assert finished.rounds["virtual_start"].tolist()[:3] == [0.0, IDLE_SECONDS, 2 * IDLE_SECONDS]
    assert finished.rounds["offline"].tolist() == [DEVICES, DEVICES, 0]


def test_most_of_those_that_are_there_failing_ends_the_run(config: Make, tmp_path: Path) -> None:
    def client(message: Message, context: Context) -> Message:
        if "evaluate" in message.metadata.message_type:
            raise RuntimeError("broken")
        return client_app.app(message, context)

    settings = config(strategy="chord", population__availability="diurnal")
    with pytest.raises(MostDevicesFailedError, match="broken"):
        simulate(settings, tmp_path, client=client)
    rows = pd.read_parquet(tmp_path / "devices.parquet")
    assert (rows["status"] == "offline").mean() > 0.5 > (rows["status"] == "failed").mean() > 0


# --- company ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strategy", "changes"),
    [
        ("chord", {}),
        ("static", {"simulation__candidates": 20}),
        ("finetune", {"population__source": "phones", "simulation__candidates": 20}),
        ("quant", {"population__source": "phones", "simulation__candidates": 20, "clock__deadline": 0.25}),
        ("popular", {"clock__deadline": 0.15}),
    ],
)
def test_with_everything_on_the_cohort_does_not_show(
    config: Make, tmp_path: Path, strategy: str, changes: dict[str, Any]
) -> None:
    settings = config(strategy=strategy, **(EVERYTHING | changes))
    one, other = (simulate(settings, tmp_path / str(nodes), nodes, seed=nodes) for nodes in (1, 7))
    assert_same_results(one.devices, other.devices)
    assert len(counts(one)) >= (6 if strategy == "chord" else 5), "nearly everything must occur"
    pd.testing.assert_frame_equal(one.rounds.drop(columns=PACE), other.rounds.drop(columns=PACE), check_exact=True)
    totals = [
        run.ledger.groupby(["round", "device", "purpose"], observed=True)["payload_bytes"].sum() for run in (one, other)
    ]
    pd.testing.assert_series_equal(*totals)


def test_the_size_of_the_population_does_not_show(config: Make, tmp_path: Path) -> None:
    settings = {**EVERYTHING, "clock__interval": 3600.0, "strategy": "static"}
    few = simulate(config(data__devices=40, **settings), tmp_path / "40").devices
    many = simulate(config(**settings), tmp_path / "90").devices
    assert_same_results(few, many[many["device"] < 40].reset_index(drop=True))


# --- presets ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "rounds", "expected"),
    [("commuters", 6, {"ok", "dropped", "lost"}), ("budget-phones", 4, {"ok", "cannot_hold"})],
)
def test_presets_run_as_they_are(name: str, rounds: int, expected: set[str], checkpoint: Path, tmp_path: Path) -> None:
    """Their world whole; users and training of another size."""
    tree = preset(name)
    small = {
        **{"data.name": "synthetic", "data.devices": 60, "data.items": 200, "model.blocks": 1, "train.epochs": 1},
        **{"train.train_users": 60, "train.checkpoint": str(checkpoint / name)},
    }
    finished = simulate(make_config(overlay(tree, small)), tmp_path)
    rows = finished.devices
    assert expected <= set(rows["status"]) and finished.summary["failures"] == 0
    assert finished.rounds["virtual_start"].tolist() == [tree["clock"]["interval"] * past for past in range(rounds)]
    good = rows[rows["status"] == "ok"]
    assert (good["memory_bytes"] <= good["memory_budget_bytes"]).all()
    assert (good["uplink_bytes"] + good["downlink_bytes"] <= good["bandwidth_budget_bytes"]).all()
    if name == "commuters":
        later = rows["round"] > 1
        assert 0 < rows.loc[later, "asked"].mean() < rows.loc[~later, "asked"].mean(), "drift decides"
        assert rows["metered"].mean() > 0.5
    else:
        assert (good["average_bits"] < 2.5).any() and good["average_bits"].max() > 2.5, "plans shrink as they must"
