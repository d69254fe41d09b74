"""What goes wrong at one device or node stays there, is counted, and says why; when most devices fail the run stops."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from flwr.app import ConfigRecord, Context, Error, Message, MetricRecord, RecordDict

from chord_fl.config import Config
from chord_fl.data.dataset import Dataset
from chord_fl.errors import ChordError, DataError
from chord_fl.wire.frame import Kind, seal
from simulations import client_app
from strategies.base import MostDevicesFailedError, wait_for_nodes
from strategies.messages import devices_of
from tests.inprocess import (
    DEVICES,
    TIMES,
    Finished,
    Hook,
    InProcessGrid,
    assert_same_results,
    go,
    only,
    settle,
    simulate,
)

Make = Callable[..., Config]
Edit = Callable[[RecordDict], None]

VICTIM = 42  # at node 1 of 3, which hosts devices 30 .. 59
NODE_1 = list(range(30, 60))


@pytest.fixture(scope="module")
def clean(config: Make, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], pd.DataFrame]:
    """devices.parquet of a run in which nothing goes wrong, by strategy."""
    found: dict[str, pd.DataFrame] = {}

    def rows(strategy: str) -> pd.DataFrame:
        if strategy not in found:
            found[strategy] = simulate(config(strategy=strategy), tmp_path_factory.mktemp(strategy)).devices
        return found[strategy]

    return rows


def altered(name: str, device: int, change: Callable[[bytes], bytes]) -> Hook:
    """Change one device's byte message `name`, at whichever node it is."""

    def hook(message: Message, place: int) -> Message:
        payload = message.content.config_records.get("payload") if message.has_content() else None
        if payload is not None and name in payload and device in devices_of(message):
            parts: Any = list(payload[name])  # type: ignore[arg-type]
            row = devices_of(message).tolist().index(device)
            parts[row] = change(parts[row])
            payload[name] = parts
        return message

    return hook


def edited(edit: Edit) -> Hook:
    def hook(message: Message, place: int) -> Message:
        edit(message.content)
        return message

    return hook


def flipped(message: bytes) -> bytes:
    return message[:-1] + bytes([message[-1] ^ 4])


def check_failed(finished: Finished, devices: list[int], reason: str) -> pd.DataFrame:
    """Exactly `devices` failed, with a reason that contains `reason` and no result; returns the rows of the others."""
    rows = finished.devices
    assert rows["device"].tolist() == list(range(DEVICES))
    failed = rows[rows["error"] != ""]
    assert failed["device"].tolist() == devices
    assert failed["error"].str.contains(reason, regex=False).all(), failed["error"].unique()
    results = ["rank", "rank_stranger", "average_bits", "memory_bytes", "ndcg@10", "hr@10"]
    assert (failed[results] == 0).all(axis=None), "a device without a result has none"
    assert finished.summary["failures"] == len(devices) == finished.rounds["failures"].sum()
    good = rows[rows["error"] == ""]
    assert finished.summary["hr@10"] == pytest.approx(good["hr@10"].mean())
    assert finished.summary["average_bits"] == pytest.approx(good["average_bits"].mean())
    return good


def check_others(good: pd.DataFrame, clean: pd.DataFrame, control: bool = True) -> None:
    """The others are as in the clean run; without `control` they may have met other strangers."""
    expected = clean[clean["device"].isin(good["device"])]
    columns = [] if control else ["rank_stranger"]
    assert_same_results(good.drop(columns=columns), expected.drop(columns=columns))


# --- one device ------------------------------------------------------------------------------------------------------


def sealed(numbers: Any, fingerprint: bytes) -> bytes:
    return seal(Kind.PROFILE, 2, fingerprint, np.asarray(numbers, dtype="<f2").tobytes())


def fingerprint(message: bytes) -> bytes:
    return message[6:10]


BAD_PROFILES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "a flipped bit": (flipped, "checksum"),
    "another model": (lambda m: sealed([0.5] * 16, bytes(b ^ 1 for b in fingerprint(m))), "fingerprint"),
    "not a number": (lambda m: sealed([0.5] * 3 + [np.nan] + [0.5] * 12, fingerprint(m)), "profile[3]"),
    "infinity": (lambda m: sealed([np.inf] + [0.5] * 15, fingerprint(m)), "profile[0]"),
    "too few numbers": (lambda m: sealed([0.5] * 15, fingerprint(m)), "payload"),
    "cut short": (lambda m: m[:-3], "payload"),
    "nothing": (lambda m: b"", "message"),
    "a plan": (lambda m: seal(Kind.PLAN, 1, fingerprint(m), bytes(20)), "kind"),
    "another program's": (lambda m: b"GIF" + m[3:], "magic"),
    "oversized": (lambda m: m + bytes(70_000), "message"),
    "an unknown format": (lambda m: seal(Kind.PROFILE, 9, fingerprint(m), m[16:]), "format"),
}


@pytest.mark.parametrize("what", BAD_PROFILES)
def test_a_bad_profile_costs_its_own_device_only(
    config: Make, tmp_path: Path, clean: Callable[[str], pd.DataFrame], what: str
) -> None:
    change, field = BAD_PROFILES[what]
    finished = simulate(config(strategy="chord"), tmp_path, on_reply=altered("profile", VICTIM, change))
    good = check_failed(finished, [VICTIM], f"{field}: found")
    check_others(good, clean("chord"), control=False)
    assert VICTIM not in {d for m in finished.grid.sent for d in devices_of(m)}, "it has no further part in the round"


@pytest.mark.parametrize("name", ["plan", "candidates"])
def test_a_bad_answer_costs_its_own_device_only(config: Make, tmp_path: Path, name: str) -> None:
    settings = config(strategy="chord", simulation__candidates=20)
    expected = simulate(settings, tmp_path / "clean").devices
    finished = simulate(settings, tmp_path / "bad", on_message=altered(name, VICTIM, flipped))
    check_others(check_failed(finished, [VICTIM], "checksum: found"), expected)


@pytest.mark.parametrize("strategy", ["static", "finetune"])
def test_bad_candidates_cost_their_own_device_only_without_plans_too(
    config: Make, tmp_path: Path, strategy: str
) -> None:
    settings = config(strategy=strategy, simulation__candidates=20)
    expected = simulate(settings, tmp_path / "clean").devices
    finished = simulate(settings, tmp_path / "bad", on_message=altered("candidates", VICTIM, lambda m: m[:-8]))
    check_others(check_failed(finished, [VICTIM], "payload: found"), expected)


def test_a_plan_of_another_device_is_a_valid_plan(config: Make, tmp_path: Path) -> None:
    """The header names the model, not the device: what protects a device from another's plan is the transport."""
    stolen: list[bytes] = []
    settings = config(strategy="chord")

    def keep(message: bytes) -> bytes:
        stolen.append(message)
        return message

    simulate(settings, tmp_path / "1", on_message=altered("plan", 50, keep))
    finished = simulate(settings, tmp_path / "2", on_message=altered("plan", VICTIM, lambda m: stolen[0]))
    assert (finished.devices["error"] == "").all()


def test_a_device_that_fails_in_one_round_is_back_in_the_next(config: Make, tmp_path: Path) -> None:
    tampered: list[bytes] = []

    def once(message: bytes) -> bytes:
        tampered.append(message)
        return flipped(message) if len(tampered) == 1 else message

    hook = altered("profile", VICTIM, once)
    finished = simulate(config(strategy="chord", simulation__rounds=2), tmp_path, on_reply=hook)
    rows = finished.devices
    assert rows.loc[rows["error"] != "", ["round", "device"]].to_numpy().tolist() == [[1, VICTIM]]
    assert finished.rounds["failures"].tolist() == [1, 0] and finished.summary["failures"] == 1


# --- one node --------------------------------------------------------------------------------------------------------


def drop(message: Message, place: int) -> None:
    return None


def refuse(message: Message, place: int) -> Message:
    return Message(Error(5, "the battery is empty"), reply_to=message)


EXCHANGES = [("chord", "query.profile"), ("chord", "evaluate.plan"), ("static", "evaluate"), ("finetune", "evaluate")]


@pytest.mark.parametrize(("strategy", "kind"), EXCHANGES)
@pytest.mark.parametrize("way", ["on_message", "on_reply"])
def test_a_node_that_never_answers(
    config: Make, tmp_path: Path, clean: Callable[[str], pd.DataFrame], strategy: str, kind: str, way: str
) -> None:
    finished = simulate(config(strategy=strategy), tmp_path, **{way: only(1, drop, kind)})
    good = check_failed(finished, NODE_1, "no reply in time")
    check_others(good, clean(strategy), control="profile" not in kind)


@pytest.mark.parametrize(("strategy", "kind"), EXCHANGES)
def test_a_node_that_answers_with_an_error(
    config: Make, tmp_path: Path, clean: Callable[[str], pd.DataFrame], strategy: str, kind: str
) -> None:
    finished = simulate(config(strategy=strategy), tmp_path, on_reply=only(1, refuse_anything, kind))
    good = check_failed(finished, NODE_1, "the battery is empty")
    check_others(good, clean(strategy), control="profile" not in kind)


def refuse_anything(message: Message, place: int) -> Message:
    """A reply becomes an error with the same metadata."""
    return Message(error=Error(5, "on a phone\n  the battery is empty\n"), metadata=message.metadata)  # type: ignore[call-overload]


def test_an_error_without_a_reason_is_told_by_its_code(config: Make, tmp_path: Path) -> None:
    hook = only(1, lambda m, place: Message(error=Error(5), metadata=m.metadata), "evaluate")  # type: ignore[call-overload]
    check_failed(simulate(config(strategy="static"), tmp_path, on_reply=hook), NODE_1, "error 5")


@pytest.mark.parametrize(("strategy", "kind"), EXCHANGES)
def test_a_client_app_that_raises(
    config: Make, tmp_path: Path, clean: Callable[[str], pd.DataFrame], strategy: str, kind: str
) -> None:
    def client(message: Message, context: Context) -> Message:
        if context.node_config["partition-id"] == 1 and kind in message.metadata.message_type:
            raise RuntimeError("out of memory")
        return client_app.app(message, context)

    finished = simulate(config(strategy=strategy), tmp_path, client=client)
    good = check_failed(finished, NODE_1, "out of memory")
    check_others(good, clean(strategy), control="profile" not in kind)


@pytest.mark.parametrize(
    ("strategy", "function"),
    [
        ("chord", "profiles"),
        ("chord", "ranks_of_plans"),
        ("chord", "fit"),
        ("static", "ranks_of_weights"),
        ("finetune", "ranks_after_finetuning"),
    ],
)
def test_a_computation_that_raises_is_the_error_of_each_device_of_its_cohort(
    config: Make,
    tmp_path: Path,
    clean: Callable[[str], pd.DataFrame],
    monkeypatch: pytest.MonkeyPatch,
    strategy: str,
    function: str,
) -> None:
    at = [0]
    real = getattr(client_app, function)

    def explode(*args: Any, **kwargs: Any) -> Any:
        if at[0] == 1:
            raise RuntimeError("boom\nand more")
        return real(*args, **kwargs)

    def client(message: Message, context: Context) -> Message:
        at[0] = int(context.node_config["partition-id"])
        return client_app.app(message, context)

    monkeypatch.setattr(client_app, function, explode)
    finished = simulate(config(strategy=strategy), tmp_path, client=client)
    good = check_failed(finished, NODE_1, "RuntimeError: boom")
    assert not finished.devices["error"].str.contains("more").any(), "one line"
    check_others(good, clean(strategy), control=function != "profiles")


def test_a_request_that_the_client_cannot_read(config: Make, tmp_path: Path) -> None:
    def without_request(message: Message, place: int) -> Message:
        message.content.pop("request")
        return message

    finished = simulate(config(strategy="static"), tmp_path, on_message=only(1, without_request, "evaluate"))
    check_failed(finished, NODE_1, "KeyError: 'request'")


def test_an_action_that_the_client_does_not_know(config: Make, tmp_path: Path) -> None:
    strategy, _ = settle(config(strategy="static"), tmp_path, 3)
    strategy.action = "fly"  # type: ignore[misc]
    with pytest.raises(MostDevicesFailedError, match=r"90 of 90 .*fly"):
        go(Finished(tmp_path, strategy, InProcessGrid(3)), config(strategy="static"))


# --- replies that cannot be read -------------------------------------------------------------------------------------


def column(name: str, change: Callable[[list[Any]], Any]) -> Edit:
    def edit(content: RecordDict) -> None:
        numbers = dict(content.metric_records["devices"])
        numbers[name] = change(list(numbers[name]))  # type: ignore[arg-type]
        content["devices"] = MetricRecord(numbers)

    return edit


def without(name: str) -> Edit:
    def edit(content: RecordDict) -> None:
        content["devices"] = MetricRecord({k: v for k, v in content.metric_records["devices"].items() if k != name})

    return edit


def record(name: str, value: Any) -> Edit:
    def edit(content: RecordDict) -> None:
        content.pop(name, None)
        content[name] = value

    return edit


IDS: dict[str, tuple[Edit, str]] = {
    "no numbers": (lambda content: content.pop("devices"), "devices"),
    "numbers of another kind": (record("devices", ConfigRecord({"device": [1, 2]})), "devices"),
    "no ids": (without("device"), "device"),
    "fewer ids": (column("device", lambda ids: ids[:-1]), "length"),
    "one id": (column("device", lambda ids: ids[0]), "device"),
    "ids with fractions": (column("device", lambda ids: [i + 0.5 for i in ids]), "device"),
    "an id beyond the last": (column("device", lambda ids: [*ids[:-1], 2**40]), "device"),
    "an id below the first": (column("device", lambda ids: [*ids[:-1], -1]), "device"),
    "an id twice": (column("device", lambda ids: [ids[0], *ids[:-1]]), "device"),
    "fewer errors": (record("errors", ConfigRecord({"error": ["", "x"]})), "length"),
    "errors that are no texts": (record("errors", ConfigRecord({"error": [1] * 30})), "error"),
    "no list of errors": (record("errors", ConfigRecord({"error": "x" * 30})), "error"),
    "no seconds": (without("seconds"), "seconds"),
    "seconds that are not a number": (column("seconds", lambda n: [float("nan"), *n[1:]]), "seconds"),
}
RESULTS: dict[str, tuple[Edit, str]] = {
    "ids of others": (column("device", lambda ids: [i + 30 for i in ids]), "device: 60"),
    "no ranks": (without("rank"), "rank"),
    "fewer ranks": (column("rank", lambda n: n[:-1]), "length"),
    "ranks with fractions": (column("rank", lambda n: [x + 0.5 for x in n]), "rank"),
    "ranks that are not numbers": (column("rank", lambda n: [float("nan")] * len(n)), "rank"),
    "infinite bits": (column("average_bits", lambda n: [float("inf"), *n[1:]]), "average_bits"),
    "no memory": (without("memory_bytes"), "memory_bytes"),
}
PROFILES: dict[str, tuple[Edit, str]] = {
    "fewer profiles": (record("payload", ConfigRecord({"profile": [b"x"] * 29})), "profile"),
    "numbers for profiles": (record("payload", ConfigRecord({"profile": [1] * 30})), "profile"),
    "a text for profiles": (record("payload", ConfigRecord({"profile": "x" * 30})), "profile"),
    "no profiles": (lambda content: content.pop("payload"), "message: found 0 bytes"),
}


@pytest.mark.parametrize("what", [*IDS, *RESULTS])
@pytest.mark.parametrize("strategy", ["chord", "static"])
def test_a_malformed_result_costs_its_own_node_only(
    config: Make, tmp_path: Path, clean: Callable[[str], pd.DataFrame], strategy: str, what: str
) -> None:
    if strategy == "static" and what == "ids of others":
        pytest.skip("without a first exchange nobody knows whose they are: the next test")
    edit, reason = (IDS | RESULTS)[what]
    finished = simulate(config(strategy=strategy), tmp_path, on_reply=only(1, edited(edit), "evaluate"))
    good = check_failed(finished, NODE_1, "malformed reply: ")
    assert reason in finished.devices["error"][VICTIM].lower()
    check_others(good, clean(strategy))


@pytest.mark.parametrize("what", [*IDS, *PROFILES])
def test_a_malformed_profile_reply_costs_its_own_node_only(
    config: Make, tmp_path: Path, clean: Callable[[str], pd.DataFrame], what: str
) -> None:
    edit, reason = (IDS | PROFILES)[what]
    finished = simulate(config(strategy="chord"), tmp_path, on_reply=only(1, edited(edit), "query.profile"))
    good = check_failed(finished, NODE_1, reason if what == "no profiles" else "malformed reply: ")
    assert reason in finished.devices["error"][VICTIM].lower()
    check_others(good, clean("chord"), control=False)
    assert set(finished.ledger["device"]) <= set(range(DEVICES))


@pytest.mark.parametrize("what", [*IDS])
def test_a_malformed_session_reply_costs_its_own_node_only(config: Make, tmp_path: Path, what: str) -> None:
    settings = config(strategy="static", simulation__candidates=20)
    expected = simulate(settings, tmp_path / "clean").devices
    hook = only(1, edited(IDS[what][0]), "query.session")
    finished = simulate(settings, tmp_path / "bad", on_reply=hook)
    check_others(check_failed(finished, NODE_1, "malformed reply: "), expected)


@pytest.mark.parametrize("seed", range(4))
def test_without_a_first_exchange_a_device_answers_once(config: Make, tmp_path: Path, seed: int) -> None:
    """Node 1 claims the devices of node 2: whichever reply comes first is taken, the other refused."""
    hook = only(1, edited(column("device", lambda ids: [i + 30 for i in ids])), "evaluate")
    finished = simulate(config(strategy="static"), tmp_path, on_reply=hook, seed=seed)
    check_failed(finished, NODE_1, "malformed reply: device: 60 is not one of the node's")


@pytest.mark.parametrize("seed", range(4))
def test_two_nodes_that_upload_profiles_of_the_same_devices(config: Make, tmp_path: Path, seed: int) -> None:
    hook = only(1, edited(column("device", lambda ids: [i + 30 for i in ids])), "query.profile")
    finished = simulate(config(strategy="chord"), tmp_path, 9, on_reply=hook, seed=seed)
    failed = finished.devices[finished.devices["error"] != ""]["device"].tolist()
    assert set(range(10, 20)) <= set(failed) and set(failed) <= {*range(10, 20), *range(40, 50)}
    assert finished.by_purpose()["payload_bytes"]["profile"].notna().sum() == 80


@pytest.mark.parametrize("shift", [-30, 30])
def test_a_node_that_is_asked_about_devices_of_others(
    config: Make, tmp_path: Path, clean: Callable[[str], pd.DataFrame], shift: int
) -> None:
    hook = only(1, edited(column("device", lambda ids: [i + shift for i in ids])), "evaluate")
    finished = simulate(config(strategy="chord"), tmp_path, on_message=hook)
    refused = [m.content for m in finished.grid.received if finished.grid.place(m.metadata.src_node_id) == 1][-1]
    assert set(refused.config_records["errors"]["error"]) == {"ValueError: asked about a device that is not here"}  # type: ignore[arg-type]
    check_others(check_failed(finished, NODE_1, "malformed reply: device"), clean("chord"))


@pytest.mark.parametrize("payload", [{"plan": [b"x"] * 29}, {"plan": []}, {"control": [b"x"] * 30}, {"plan": 5}])
def test_a_message_with_too_few_plans(
    config: Make, tmp_path: Path, clean: Callable[[str], pd.DataFrame], payload: dict[str, Any]
) -> None:
    hook = only(1, edited(record("payload", ConfigRecord(payload))), "evaluate")
    finished = simulate(config(strategy="chord"), tmp_path, on_message=hook)
    check_others(check_failed(finished, NODE_1, "Error: "), clean("chord"))


def test_a_device_and_its_node_may_fail_for_different_reasons(
    config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def explode(*args: Any) -> Any:
        calls.append(args)
        raise RuntimeError("boom") if len(calls) == 2 else SystemError("other")

    monkeypatch.setattr(client_app, "fit", explode)
    with pytest.raises(MostDevicesFailedError):
        simulate(config(strategy="chord"), tmp_path, on_reply=altered("profile", VICTIM, flipped))
    rows = pd.read_parquet(tmp_path / "devices.parquet")
    assert rows["error"][VICTIM].startswith("checksum")
    assert sorted(rows["error"].drop(VICTIM).unique()) == ["RuntimeError: boom", "SystemError: other"]


def test_a_reply_that_leaves_devices_out(config: Make, tmp_path: Path) -> None:
    def shorten(content: RecordDict) -> None:
        content["devices"] = MetricRecord({k: v[:-5] for k, v in content.metric_records["devices"].items()})  # type: ignore[index]

    finished = simulate(config(strategy="static"), tmp_path, on_reply=only(1, edited(shorten), "evaluate"))
    check_failed(finished, NODE_1[-5:], "no reply in time")


def test_a_reply_with_more_than_was_asked_for(
    config: Make, tmp_path: Path, clean: Callable[[str], pd.DataFrame]
) -> None:
    def enlarge(content: RecordDict) -> None:
        numbers = content.metric_records["devices"]
        for name in ("uplink_bytes", "round", "nonsense"):
            numbers[name] = [7.5] * len(numbers["device"])  # type: ignore[arg-type]
        content["more"] = ConfigRecord({"x": b"y"})

    finished = simulate(config(strategy="static"), tmp_path, on_reply=only(1, edited(enlarge), "evaluate"))
    assert_same_results(finished.devices, clean("static"))


# --- most devices ----------------------------------------------------------------------------------------------------


def check_stopped(folder: Path, rounds: int, failures: int) -> None:
    """The files are whole, and say what failed."""
    rows = pd.read_parquet(folder / "devices.parquet")
    assert len(rows) == rounds * DEVICES and (rows["error"] != "").sum() == failures
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["failures"] == failures and summary["rounds"] == rounds
    assert pd.read_csv(folder / "rounds.csv")["failures"].sum() == failures
    assert len(pd.read_parquet(folder / "ledger.parquet")) >= DEVICES
    assert (folder / "config.toml").exists() and not list(folder.glob(".*"))


@pytest.mark.parametrize("strategy", ["chord", "static", "finetune"])
def test_a_shipment_that_was_tampered_with(config: Make, tmp_path: Path, strategy: str) -> None:
    settings = config(strategy=strategy)
    made, _ = settle(settings, tmp_path, 3)
    content = bytearray(made.shipment.path.read_bytes())
    content[-7] ^= 1
    made.shipment.path.write_bytes(content)
    finished = Finished(tmp_path, made, InProcessGrid(3))
    with pytest.raises(MostDevicesFailedError, match=r"^round 1: 90 of 90 devices failed; .*\(90\): .*SHA-256"):
        go(finished, settings)
    check_stopped(tmp_path, 1, DEVICES)
    check_failed_figures(finished)


def test_a_shipment_that_is_gone(config: Make, tmp_path: Path) -> None:
    settings = config(strategy="chord")
    made, _ = settle(settings, tmp_path, 3)
    made.shipment.path.unlink()
    with pytest.raises(MostDevicesFailedError, match=r"90 of 90 .*FileNotFoundError"):
        go(Finished(tmp_path, made, InProcessGrid(3)), settings)
    check_stopped(tmp_path, 1, DEVICES)


def check_failed_figures(finished: Finished) -> None:
    written = json.loads((finished.folder / "summary.json").read_text())
    for name in ("hr@10", "ndcg@10", "average_bits", "hr@10_stranger", "plan_difference"):
        assert written[name] is None, f"{name} was not measured"
    assert written["over_memory_budget"] == 0


@pytest.mark.parametrize(("nodes", "silent", "stops"), [(2, 1, False), (3, 2, True), (9, 4, False), (9, 5, True)])
@pytest.mark.parametrize("strategy", ["chord", "static"])
def test_more_than_half_of_the_devices_stop_the_run(
    config: Make, tmp_path: Path, strategy: str, nodes: int, silent: int, stops: bool
) -> None:
    settings = config(strategy=strategy)
    failing = DEVICES // nodes * silent

    def hook(message: Message, place: int) -> Message | None:
        return None if place < silent else message

    if not stops:
        check_failed(simulate(settings, tmp_path, nodes, on_reply=hook), list(range(failing)), "no reply in time")
        return
    with pytest.raises(MostDevicesFailedError, match=rf"round 1: {failing} of 90 .*\({failing}\): no reply in time$"):
        simulate(settings, tmp_path, nodes, on_reply=hook)
    check_stopped(tmp_path, 1, failing)


def test_the_most_frequent_reason_is_named(config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def client(message: Message, context: Context) -> Message:
        place = int(context.node_config["partition-id"])
        if "evaluate" in message.metadata.message_type and place != 1:
            monkeypatch.setattr(client_app, "ranks_of_plans", lambda *_: 1 / 0 if place in (0, 3, 4) else int("x"))
        else:
            monkeypatch.undo()
        return client_app.app(message, context)

    with pytest.raises(MostDevicesFailedError) as caught:
        simulate(config(strategy="chord"), tmp_path, 5, client=client)
    assert str(caught.value) == (
        "round 1: 72 of 90 devices failed; most often (54): ZeroDivisionError: division by zero"
    )
    assert isinstance(caught.value, ChordError)


def test_what_was_finished_before_stays(config: Make, tmp_path: Path, clean: Callable[[str], pd.DataFrame]) -> None:
    heard = []

    def hook(message: Message, place: int) -> Message | None:
        heard.append(message)
        return message if len(heard) <= 3 + 2 * 3 else None  # the greeting and the first round

    with pytest.raises(MostDevicesFailedError, match=r"^round 2: 90 of 90"):
        simulate(config(strategy="chord", simulation__rounds=5), tmp_path, on_reply=hook)
    check_stopped(tmp_path, 2, DEVICES)
    rows = pd.read_parquet(tmp_path / "devices.parquet")
    first = rows[rows["round"] == 1]
    assert_same_results(first, clean("chord"))
    assert (rows.loc[rows["round"] == 2, TIMES] == 0).all(axis=None)


@pytest.mark.parametrize("strategy", ["chord", "static"])
def test_devices_that_cannot_find_their_data_say_so(
    config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strategy: str
) -> None:
    def absent(*args: Any) -> Dataset:
        raise DataError("the file of interactions is gone")

    monkeypatch.setattr(client_app, "_dataset", absent)
    with pytest.raises(MostDevicesFailedError, match="DataError: the file of interactions is gone"):
        simulate(config(strategy=strategy), tmp_path)
    check_stopped(tmp_path, 1, DEVICES)


# --- nodes that do not appear ----------------------------------------------------------------------------------------


def test_nodes_that_never_register(config: Make) -> None:
    with pytest.raises(ChordError, match="only 3 of 4 nodes appeared within 0 seconds"):
        wait_for_nodes(InProcessGrid(3), 4, timeout=0.2)


def test_nodes_are_sorted_and_waited_for() -> None:
    class Slow(InProcessGrid):
        looks = 0

        def get_node_ids(self) -> list[int]:
            self.looks += 1
            return list(super().get_node_ids())[: self.looks]

    found = wait_for_nodes(Slow(4), 4)
    assert found == sorted(found) and len(found) == 4
    assert len(wait_for_nodes(InProcessGrid(4), None)) == 4
