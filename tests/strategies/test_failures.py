"""What goes wrong at one device or node stays there, is counted, and says why."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from flwr.app import Context, Error, Message

from chord_fl.wire.frame import Kind, seal
from simulations import client_app
from strategies.base import MostDevicesFailedError
from strategies.messages import devices_of
from tests.faults import NODE_1, VICTIM, Make, altered, check_failed, check_others, flipped
from tests.inprocess import (
    Finished,
    InProcessGrid,
    go,
    only,
    settle,
    simulate,
)

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
