"""Faults for the in-process engine, and what a run with one must still get right."""

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from flwr.app import Message, RecordDict

from chord_fl.config import Config
from strategies.messages import devices_of
from tests.inprocess import (
    DEVICES,
    Finished,
    Hook,
    assert_same_results,
)

Make = Callable[..., Config]
Edit = Callable[[RecordDict], None]

VICTIM = 42  # at node 1 of 3, which hosts devices 30 .. 59
NODE_1 = list(range(30, 60))


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
