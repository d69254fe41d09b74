"""What devices keep between sessions, and what happens where it, a plan or a decision is lost or damaged."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict

from chord_fl.device import storage
from strategies.base import MostDevicesFailedError
from tests.faults import NODE_1, VICTIM, altered, edited, flipped
from tests.inprocess import Hook, only, simulate
from tests.lives import HEADER, LONG, PLAN, Make, Run, of, results


def in_round(number: int, act: Callable[[Message], None], kind: str) -> Hook:
    """Do something before the messages of a kind in a round arrive."""

    def hook(message: Message, place: int) -> Message:
        request = message.content.config_records["request"] if message.has_content() else {}
        if kind in message.metadata.message_type and request["round"] == number:
            act(message)
        return message

    return hook


def kept(message: Message, first: int) -> Path:
    location = Path(str(message.content.config_records["request"]["location"]))
    (path,) = (location.parent / storage.FOLDER).glob(f"{first}-*")
    return path


@pytest.mark.parametrize("kind", ["query.profile", "evaluate.plan"])
def test_lost_storage_costs_its_devices_a_session(life: Make, run: Run, tmp_path: Path, kind: str) -> None:
    hook = only(1, in_round(3, lambda message: kept(message, 30).unlink(), kind))
    finished = simulate(life(life__refresh="once"), tmp_path, on_message=hook)
    third, clean = of(finished, 3), run("once")
    assert third.index[third["error"] != ""].tolist() == NODE_1
    assert third.loc[NODE_1, "error"].str.startswith("storage: ").all()
    assert (third.loc[NODE_1, ["rank", "average_bits"]] == 0).all(axis=None)
    others = ~clean.devices["device"].isin(NODE_1)
    columns = ["rank_stranger"]  # with fewer devices they may meet other strangers
    pd.testing.assert_frame_equal(
        results(finished)[others].drop(columns=columns), results(clean)[others].drop(columns=columns)
    )
    fourth = of(finished, 4)
    assert fourth.index[fourth["asked"]].tolist() == NODE_1 and (fourth["error"] == "").all()
    assert finished.summary["failures"] == len(NODE_1)


@pytest.mark.parametrize("part", ["plan", "profile"])
def test_damaged_storage_costs_its_device_a_session(life: Make, tmp_path: Path, part: str) -> None:
    def damage(message: Message) -> None:
        path = kept(message, 30)
        record = path.stat().st_size // 30
        content = bytearray(path.read_bytes())
        content[(VICTIM - 30) * record + 4 + (0 if part == "plan" else PLAN) + HEADER] ^= 8
        path.write_bytes(content)

    hook = only(1, in_round(2, damage, "query.profile"))
    finished = simulate(life(life__refresh="once"), tmp_path, on_message=hook)
    failed = finished.devices[finished.devices["error"] != ""]
    assert failed[["round", "device"]].to_numpy().tolist() == [[2, VICTIM]]
    assert failed["error"].iloc[0].startswith("storage: checksum: ")
    later = finished.devices[finished.devices["asked"] & (finished.devices["round"] > 1)]
    assert later[["round", "device"]].to_numpy().tolist() == [[3, VICTIM]]


def test_a_first_plan_that_is_lost_is_asked_for_again(life: Make, tmp_path: Path) -> None:
    def hook(message: Message, place: int) -> Message | None:
        request = message.content.config_records["request"]
        lost = place == 1 and message.metadata.message_type == "evaluate.plan" and request["round"] == 1
        return None if lost else message

    finished = simulate(life(life__refresh="once"), tmp_path, on_message=hook)
    rows = finished.devices
    assert rows[rows["error"] != ""]["device"].tolist() == NODE_1
    asked = rows[rows["asked"] & (rows["round"] > 1)]
    assert asked["round"].unique().tolist() == [2] and asked["device"].tolist() == NODE_1
    assert rows.loc[asked.index, "drift"].isna().all() and finished.summary["refreshes"] == 0


def test_a_damaged_refresh_leaves_the_device_with_its_old_plan(life: Make, run: Run, tmp_path: Path) -> None:
    def damage(message: Message, place: int) -> Message:
        request = message.content.config_records["request"]
        return altered("plan", VICTIM, flipped)(message, place) if request["round"] == 3 else message

    hook: Hook = lambda message, place: damage(message, place) if "plan" in message.metadata.message_type else message  # noqa: E731
    finished = simulate(life(life__refresh="every:2"), tmp_path, on_message=hook)
    rows = finished.devices.set_index(["round", "device"])
    assert rows.index[rows["error"] != ""].tolist() == [(3, VICTIM)]
    assert rows["asked"][4, VICTIM] and not rows["asked"].xs(4).drop(VICTIM).any()
    clean = run("every:2").devices.set_index(["round", "device"])
    # measured from the profile of the plan that it still holds, of the first session
    assert rows["drift"][4, VICTIM] != clean["drift"][4, VICTIM]
    assert rows["drift"][3, VICTIM] == clean["drift"][3, VICTIM]


def column(name: str, value: Any) -> Callable[[RecordDict], None]:
    def edit(content: RecordDict) -> None:
        numbers = dict(content.metric_records["devices"])
        numbers[name] = [value] * len(numbers["device"])  # type: ignore[arg-type]
        content["devices"] = MetricRecord(numbers)

    return edit


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("asked", 2, "asked: expected numbers from 0 to 1"),
        ("asked", -1, "asked: expected numbers from 0 to 1"),
        ("asked", 0.5, "asked: expected"),
        ("drift", 2.5, "drift: expected numbers from 0 to 2"),
        ("drift", float("inf"), "drift: expected"),
    ],
)
def test_a_decision_that_none_can_make_costs_its_own_node_only(
    config: Make, tmp_path: Path, name: str, value: float, reason: str
) -> None:
    hook = only(1, edited(column(name, value)), "query.profile")
    rows = simulate(config(strategy="chord"), tmp_path, on_reply=hook).devices
    assert rows[rows["error"] != ""]["device"].tolist() == NODE_1
    assert rows["error"][VICTIM].startswith(f"malformed reply: {reason}")


def test_who_says_it_asks_and_sends_no_profile_fails(config: Make, tmp_path: Path) -> None:
    def empty(content: RecordDict) -> None:
        content["payload"] = ConfigRecord({"profile": [b""] * 30})

    rows = simulate(config(strategy="chord"), tmp_path, on_reply=only(1, edited(empty), "query.profile")).devices
    assert rows[rows["error"] != ""]["device"].tolist() == NODE_1
    assert rows["error"][VICTIM].startswith("message: found 0 bytes")


def test_a_run_stops_when_most_of_those_who_take_part_fail(life: Make, tmp_path: Path) -> None:
    settings = life(LONG, life__refresh="once", train__epochs=1)

    def forget(message: Message) -> None:
        location = Path(str(message.content.config_records["request"]["location"]))
        for path in (location.parent / storage.FOLDER).iterdir():
            path.unlink()

    with pytest.raises(MostDevicesFailedError, match="round 2: .*storage: "):
        simulate(settings, tmp_path, nodes=1, on_message=in_round(2, forget, "query.profile"))
    rows = pd.read_parquet(tmp_path / "devices.parquet")
    assert rows["round"].unique().tolist() == [1, 2]


def test_storage_goes_when_the_run_ends(run: Run) -> None:
    names = {path.name for path in run("once").folder.iterdir()}
    assert storage.FOLDER not in names and "devices.parquet" in names
