"""Sessions: what each shows, who asks for a plan in it, and what that costs."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from chord_fl.config import Config
from chord_fl.data import dataset
from chord_fl.data.interactions import session
from chord_fl.device import resources
from chord_fl.device.adaptation import fit
from chord_fl.device.finetuning import ranks_after_finetuning
from chord_fl.device.model import DeviceModel, unpack
from chord_fl.device.population import traits
from chord_fl.device.ranking import Local, local, profiles, ranks_of_plans, ranks_of_weights
from chord_fl.device.states import State
from chord_fl.metrics import strangers
from simulations import prepare
from tests.inprocess import DEVICES, Finished, assert_same_results, simulate, small
from tests.lives import LONG, PLAN, PROFILE, SESSIONS, Make, Run, of, results

COSTS = ("virtual_seconds", "joules", "battery")


class Alone:
    """All devices outside Flower, at a session."""

    def __init__(self, finished: Finished, config: Config, number: int) -> None:
        self.finished, self.config, self.number = finished, config, number
        whole = dataset.load(config.data, config.seed).slice(0, DEVICES)
        self.interactions, self.taking_part = session(whole, number, config.life.sessions)

    @property
    def model(self) -> DeviceModel:
        shipment = self.finished.strategy.shipment
        return unpack(shipment.path.read_bytes(), shipment.sha256)

    @property
    def local(self) -> Local:
        return local(self.model, self.interactions, self.config.simulation.seen == "exclude")

    def codes(self) -> np.ndarray:
        """The plans that CHORD's cloud makes of float16 profiles at this session."""
        heard = profiles(self.model, self.local.history).astype(np.float16).astype(np.float32)
        with torch.inference_mode():
            made: np.ndarray = self.finished.strategy.trained.model.codes(torch.from_numpy(heard)).numpy()
        return made

    def ranks(self, codes: np.ndarray) -> np.ndarray:
        weights = self.model.layout.weights
        rows = of(self.finished, self.number)
        state = State(*(rows[name].to_numpy() for name in ("battery", "charging", "metered", "busy")))
        phones = traits("phones", self.config.seed, 0, DEVICES)
        now = resources.draw(phones, state, self.config.seed, self.number, 0, 4 * weights, weights)
        return ranks_of_plans(self.model, self.local, fit(codes, now, self.model.demotions).codes)


# --- what a session shows --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("refresh", ["once", "every:2", "always"])
def test_chord_ranks_the_target_of_each_session_with_the_plan_that_the_device_holds(
    life: Make, run: Run, refresh: str
) -> None:
    settings, finished = life(life__refresh=refresh), run(refresh)
    made = {"once": [1, 1, 1, 1], "every:2": [1, 1, 3, 3], "always": [1, 2, 3, 4]}[refresh]
    cycle = strangers(DEVICES, settings.seed)
    for number, source in enumerate(made, start=1):
        rows, alone = of(finished, number), Alone(finished, settings, number)
        codes = Alone(finished, settings, source).codes()
        np.testing.assert_array_equal(rows["rank"], alone.ranks(codes))
        np.testing.assert_array_equal(rows["rank_stranger"], alone.ranks(codes[cycle]))
        assert (rows["asked"] == (source == number)).all()
    assert finished.rounds["round"].tolist() == [1, 2, 3, 4] and finished.summary["rounds"] == SESSIONS


def test_static_and_finetune_know_what_came_before_each_target(life: Make, run: Run) -> None:
    for strategy in ("static", "finetune"):
        settings, finished = life(strategy=strategy), run(strategy=strategy)
        for number in range(1, SESSIONS + 1):
            alone = Alone(finished, settings, number)
            if strategy == "static":
                ranks = ranks_of_weights(alone.model, alone.local, alone.model.weights)
            else:
                ranks, _ = ranks_after_finetuning(alone.model, alone.local, 2, 0.05)
            np.testing.assert_array_equal(of(finished, number)["rank"], ranks)
        assert not finished.devices["asked"].any() and finished.devices["drift"].isna().all()
        later = finished.devices[finished.devices["round"] > 1]
        assert (later[["uplink_bytes", "downlink_bytes"]] == 0).all(axis=None)
        assert finished.summary["refreshes"] == finished.summary["refresh_bytes"] == finished.summary["asked"] == 0


def test_the_last_session_of_a_strategy_that_counts_is_leave_one_out_of_less_training(run: Run) -> None:
    finished = run(strategy="covisitation")
    assert len(finished.devices) == SESSIONS * DEVICES and (finished.devices["error"] == "").all()
    assert of(finished, 1)["rank"].ne(of(finished, SESSIONS)["rank"]).any()


def test_seen_items_are_those_of_the_session(life: Make, run: Run) -> None:
    settings, finished = life(simulation__seen="exclude"), run(simulation__seen="exclude")
    for number in (1, SESSIONS):
        alone = Alone(finished, settings, number)
        np.testing.assert_array_equal(of(finished, number)["rank"], alone.ranks(alone.codes()))


@pytest.mark.parametrize("method", ["chord", "full"])
def test_no_target_of_a_session_shows_in_training(tmp_path: Path, method: str) -> None:
    """Two populations that differ in the items of their sessions alone; a third also in what is trained on."""

    def write(name: str, first: int) -> Path:
        # a user who has everything, first, so that items are numbered alike
        rows = [{"user": 99, "item": item, "timestamp": item} for item in range(60)]
        for user in range(40):
            items = [(7 * user + 3 * place) % 60 for place in range(12)]
            turned = items[first:]
            items[first:] = turned[1:] + turned[:1]  # the same items, so that the catalogue stays
            rows += [{"user": user, "item": item, "timestamp": place} for place, item in enumerate(items)]
        pd.DataFrame(rows).to_csv(tmp_path / name, index=False)
        return tmp_path / name

    def trained(path: Path, sessions: int) -> dict[str, torch.Tensor]:
        changes = {"data__name": "csv", "data__path": str(path), "data__core": 1, "data__devices": None}
        config = small(tmp_path / f"{path.stem}-{sessions}", life__sessions=sessions, **changes)
        model: dict[str, torch.Tensor] = prepare.trained(config, method).model.state_dict()
        return model

    def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
        return all(torch.equal(one[name], other[name]) for name in one)

    whole, held, more = write("whole.csv", 11), write("held.csv", 12 - SESSIONS), write("more.csv", 12 - SESSIONS - 3)
    assert same(trained(whole, SESSIONS), trained(held, SESSIONS))
    assert not same(trained(whole, SESSIONS), trained(more, SESSIONS)), "else nothing was turned"
    assert not same(trained(whole, 1), trained(held, 1)), "with one session those items are trained on"


# --- who asks, and what it costs -------------------------------------------------------------------------------------


def test_rules_that_come_to_the_same_leave_the_same_run(run: Run) -> None:
    for one, other in (("once", "every:100"), ("always", "every:1")):
        assert_same_results(run(one).devices, run(other).devices)
    once, compared = run("once").devices, run("cosine:2").devices
    assert_same_results(once.drop(columns=list(COSTS)), compared.drop(columns=list(COSTS)))
    later = once["round"] > 1
    assert (compared["joules"] > once["joules"])[later].all(), "to compare profiles takes a profile"
    always, zero = run("always"), run("cosine:0")
    pd.testing.assert_frame_equal(results(always), results(zero), check_exact=True)
    moved = zero.devices["drift"].isna() | (zero.devices["drift"] > 0)
    assert (zero.devices["asked"] == moved).all() and moved.mean() > 0.9


@pytest.mark.parametrize("refresh", ["cosine:0.15", "every:3", "once", "always"])
def test_only_those_who_ask_upload_a_profile_and_get_a_plan(run: Run, refresh: str) -> None:
    finished = run(refresh)
    rows, ledger = finished.devices, finished.ledger.astype({"purpose": str})
    asked = rows["asked"]
    assert asked[rows["round"] == 1].all(), "nobody holds a plan in the first session"
    assert (rows["uplink_bytes"] == np.where(asked, PROFILE, 0)).all()
    first = rows["round"] == 1
    size = (finished.folder / "shipment.safetensors").stat().st_size
    assert (rows["downlink_bytes"] == np.where(asked, PLAN, 0) + np.where(first, size, 0)).all()
    for purpose in ("profile", "plan"):
        entries = ledger[ledger["purpose"] == purpose].set_index(["round", "device"]).index
        assert set(entries) == set(rows[asked].set_index(["round", "device"]).index)
        assert entries.is_unique
    on_the_wire = [
        len(part)
        for message in finished.grid.received
        for part in message.content.config_records.get("payload", {}).get("profile", [])
    ]
    assert sorted(on_the_wire) == sorted(rows["uplink_bytes"])
    refreshed = asked & rows["drift"].notna()
    summary, rounds = finished.summary, finished.rounds
    assert summary["refreshes"] == refreshed.sum() == rounds["refreshes"].sum()
    assert summary["refresh_bytes"] == refreshed.sum() * (PROFILE + PLAN) == rounds["refresh_bytes"].sum()
    assert summary["adaptation_bytes"] == asked.sum() * (PROFILE + PLAN) == rounds["adaptation_bytes"].sum()
    assert summary["asked"] == pytest.approx(asked.mean())
    assert rounds["asked"].tolist() == pytest.approx(asked.groupby(rows["round"]).mean().tolist())
    assert summary["drift"] == pytest.approx(rows["drift"].mean())


def test_the_threshold_is_on_the_drift_since_the_plan_was_made(life: Make, run: Run) -> None:
    settings, finished = life(life__refresh="cosine:0.15"), run("cosine:0.15")
    rows = finished.devices
    later = rows[rows["round"] > 1]
    assert (later["asked"] == (later["drift"] > 0.15)).all()
    assert 0 < later["asked"].mean() < 1, "else the threshold decides nothing"
    vectors = {
        number: profiles(alone.model, alone.local.history).astype(np.float16).astype(np.float64)
        for number in range(1, SESSIONS + 1)
        for alone in [Alone(finished, settings, number)]
    }
    source = np.ones(DEVICES, dtype=int)
    for number in range(2, SESSIONS + 1):
        now = vectors[number]
        before = np.stack([vectors[source[device]][device] for device in range(DEVICES)])
        cosine = (now * before).sum(1) / np.linalg.norm(now, axis=1) / np.linalg.norm(before, axis=1)
        here = of(finished, number)
        np.testing.assert_allclose(here["drift"], 1 - cosine, atol=1e-12)
        source[here["asked"].to_numpy()] = number


def test_what_a_device_does_not_need_is_not_on_its_bill(run: Run) -> None:
    rows, always = (run(refresh).devices.set_index(["round", "device"]) for refresh in ("once", "always"))
    assert (rows["adaptation_seconds"] > 0).all()  # fitting the plan to the moment
    later = rows.index.get_level_values("round") > 1
    assert (rows.loc[later, ["uplink_bytes", "downlink_bytes"]] == 0).all(axis=None)
    # modelled, not measured: neither the profile nor its way to the cloud and back
    assert (rows.loc[later, "virtual_seconds"] < always.loc[later, "virtual_seconds"]).all()
    assert (rows.loc[later, "joules"] < always.loc[later, "joules"]).all()


@pytest.mark.parametrize("strategy", ["chord", "static"])
def test_the_cohort_does_not_show(life: Make, tmp_path: Path, strategy: str) -> None:
    settings = life(LONG, strategy=strategy, life__refresh="cosine:0.15", train__epochs=1)
    runs = [simulate(settings, tmp_path / str(nodes), nodes, seed=nodes) for nodes in (1, 7, DEVICES // 3)]
    for other in runs[1:]:
        assert_same_results(runs[0].devices, other.devices)


def test_the_population_does_not_show_in_what_a_device_asks_for_and_gets(life: Make, run: Run, tmp_path: Path) -> None:
    hourly = {"clock__interval": 3600.0}  # or the slowest device of the population decides when sessions begin
    few = simulate(life(life__refresh="cosine:0.15", data__devices=40, **hourly), tmp_path).devices
    many = run("cosine:0.15", **hourly).devices
    many = many[many["device"] < 40].reset_index(drop=True)
    assert_same_results(few.drop(columns="rank_stranger"), many.drop(columns="rank_stranger"))


# --- on phones that live ----------------------------------------------------------------------------------------------


def had_one(rows: pd.DataFrame) -> pd.Series:
    """Whether a device had a result, and so a plan to keep, in an earlier session; `rows` in the order of sessions."""
    good = (rows["status"] == "ok").astype(int)
    return (good.groupby(rows["device"]).cumsum() - good) > 0


def test_a_plan_is_asked_for_until_it_arrives_and_held_from_then_on(run: Run) -> None:
    rows = run("once", faults__lost=0.2, faults__corrupted=0.2).devices
    had = had_one(rows)
    assert {"ok", "lost", "corrupted"} == set(rows["status"])
    np.testing.assert_array_equal(rows["asked"], ~had)
    assert (rows.loc[had, "status"] == "ok").all(), "who neither sends nor gets anything loses nothing"


def test_a_lost_or_damaged_plan_leaves_the_one_before(run: Run) -> None:
    rows = run("always", faults__lost=0.2, faults__corrupted=0.2).devices
    np.testing.assert_array_equal(rows["drift"].notna(), had_one(rows))
    assert rows["asked"].all() and (rows.loc[rows["status"] != "ok", "rank"] == 0).all()


def test_who_does_not_ask_transfers_nothing_and_spends_less(run: Run) -> None:
    rows = run("once").devices
    asked, connection = rows["asked"], 3 * 0.03  # round trips of Wi-Fi, the faster network
    assert (rows.loc[asked, "virtual_seconds"] > connection).all()
    assert (rows.loc[~asked, "virtual_seconds"] < connection).all() and (rows.loc[~asked, "virtual_seconds"] > 0).all()
    np.testing.assert_allclose(run("once").rounds["virtual_start"].iloc[1:], run("once").rounds["virtual_seconds"][:-1])


def test_sessions_follow_the_clock_and_cohorts_do_not_show_with_everything_on(life: Make, tmp_path: Path) -> None:
    settings = life(
        **{"life__refresh": "cosine:0.1", "population__constrain": True, "population__availability": "diurnal"},
        **{"population__source": "commuters", "clock__interval": 7200.0, "clock__deadline": 5.0},
        **{f"faults__{name}": 0.1 for name in ("dropout", "lost", "corrupted", "battery")},
    )
    one, some = (simulate(settings, tmp_path / str(nodes), nodes=nodes) for nodes in (1, 5))
    assert_same_results(one.devices, some.devices)
    assert one.rounds["virtual_start"].tolist() == [0.0, 7200.0, 14400.0, 21600.0]
    assert {"ok", "offline"} < set(one.devices["status"]) and one.summary["failures"] == 0
    entries = one.ledger.astype({"purpose": str}).query("purpose == 'profile'").set_index(["round", "device"]).index
    assert set(entries) == set(one.devices[one.devices["asked"]].set_index(["round", "device"]).index)


# --- users who have done too little ----------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["chord", "static", "finetune", "covisitation"])
def test_who_has_done_too_little_joins_later(life: Make, run: Run, strategy: str) -> None:
    settings = life(LONG, strategy=strategy, life__refresh="once", train__epochs=1)
    finished = run("once", LONG, strategy=strategy, train__epochs=1)
    lengths = dataset.load(settings.data, settings.seed).slice(0, DEVICES).lengths
    known = lengths[None, :] - np.arange(LONG, 0, -1)[:, None]  # [session, device], items before the target
    takes_part = (known >= 3).ravel()
    rows = finished.devices
    assert (~takes_part).sum() > 0 and len(rows) == LONG * DEVICES
    assert ((rows["rank"] > 0) == takes_part).all() and (rows["error"] == "").all()
    waits = rows[~takes_part]
    assert (waits[["average_bits", "memory_bytes", "uplink_bytes", "adaptation_seconds"]] == 0).all(axis=None)
    assert not waits["asked"].any() and finished.summary["failures"] == 0
    assert (waits["status"] == "waiting").all() and (waits[["virtual_seconds", "joules"]] == 0).all(axis=None)
    assert (waits["battery"] > 0).all(), "the phone is there all the same"
    assert finished.summary["waiting"] == (~takes_part).sum() == finished.rounds["waiting"].sum()
    assert finished.summary["hr@10"] == pytest.approx(rows.loc[takes_part, "hr@10"].mean())
    if strategy == "chord":
        joined = rows[takes_part].groupby("device")["round"].min()
        asking = rows[rows["asked"]].set_index("device")["round"]
        assert joined.to_dict() == asking.to_dict() and (joined > 1).any()
        assert finished.rounds["asked"].iloc[0] == 1  # of those who take part


def test_sessions_that_leave_nothing_to_train_on_are_refused(life: Make) -> None:
    from chord_fl.errors import ChordError

    with pytest.raises(ChordError, match=r"nothing to validate on.*life\.sessions = 500"):
        prepare.trained(life(500), "full")
