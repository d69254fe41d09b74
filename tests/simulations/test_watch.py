"""What passes through the grid is counted while it passes, and agrees with what goes on record."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from flwr.app import Context, Message, RecordDict

from chord_fl.config import Config
from simulations import client_app
from simulations.server_app import run_rounds
from simulations.watch import Standing, Watch
from tests.faults import edited
from tests.inprocess import DEVICES, assert_same_results, exported, flower_task, only, settle, simulate
from tests.polled import PolledGrid

Make = Callable[..., Config]


def watched(config: Config, folder: Path, **hooks: Any) -> tuple[list[Standing], Watch, dict[str, Any]]:
    """Run over three nodes of 30 devices: every standing, the last one, the summary."""
    strategy, _ = settle(config, folder, 3)
    seen: list[Standing] = []
    clock = itertools.count().__next__
    watch = Watch(strategy.record, config.rounds, seen.append, clock=lambda: float(clock()))
    grid = PolledGrid(3, **hooks)
    watch.follow(grid)
    with exported(config), flower_task():
        run_rounds(grid, strategy, config)
    return seen, watch, strategy.record.summary


def test_devices_are_counted_as_their_nodes_answer(config: Make, tmp_path: Path) -> None:
    seen, watch, summary = watched(config(strategy="chord", simulation__rounds=2), tmp_path)
    steps = [(each.round, each.action, each.done, each.asked, each.finished) for each in seen]
    exchange = [0, 30, 60, DEVICES]
    expected = []
    for round_ in (1, 2):
        for action in ("query.profile", "evaluate.plan"):
            expected += [(round_, action, done, DEVICES, round_ - 1) for done in exchange]
        expected.append((round_, "evaluate.plan", DEVICES, DEVICES, round_))
    assert steps == expected  # the greeting is of no round
    last = watch.standing
    assert last.ndcg == summary["ndcg@10"] and last.left == 0
    assert last.bytes == summary["uplink_bytes"] + summary["downlink_bytes"]


def test_figures_of_a_round_approach_those_on_record(config: Make, tmp_path: Path) -> None:
    seen, _, summary = watched(config(strategy="chord"), tmp_path)
    assert [each.bytes for each in seen] == sorted(each.bytes for each in seen)
    assert seen[-2].ndcg == pytest.approx(summary["ndcg@10"]), "over all who answered, before the round is on record"
    assert seen[0].ndcg != seen[0].ndcg, "nobody has a rank yet"
    rates = [each.rate for each in seen[2:]]
    assert all(rate > 0 for rate in rates)
    assert [each.left for each in seen[2:]] and all(each.left >= 0 for each in seen[2:])


def test_a_round_of_one_exchange(config: Make, tmp_path: Path) -> None:
    seen, _, _ = watched(config(strategy="static"), tmp_path)
    assert [(each.action, each.done) for each in seen] == [
        *(("evaluate.static", done) for done in (0, 30, 60, DEVICES)),
        ("evaluate.static", DEVICES),
    ]


def test_watching_changes_nothing(config: Make, tmp_path: Path) -> None:
    settings = config(strategy="chord")
    watched(settings, tmp_path / "watched")
    alone = simulate(settings, tmp_path / "alone").devices
    assert_same_results(pd.read_parquet(tmp_path / "watched" / "devices.parquet"), alone)


def scrambled(content: RecordDict) -> None:
    record: Any = content.metric_records.get("devices")
    if record is not None and "rank" in record:
        record["rank"] = [float("nan")] * len(record["rank"])


def test_a_reply_that_makes_no_sense_is_left_to_the_strategy(config: Make, tmp_path: Path) -> None:
    _, watch, summary = watched(config(strategy="chord"), tmp_path, on_reply=only(1, edited(scrambled)))
    assert summary["failures"] == 30 and watch.standing.done == DEVICES


def test_the_end_of_a_round_counts_those_whose_node_broke(config: Make, tmp_path: Path) -> None:
    def client(message: Message, context: Context) -> Message:
        if context.node_config["partition-id"] == 0 and "evaluate" in message.metadata.message_type:
            raise RuntimeError("broken")
        return client_app.app(message, context)

    seen, _, summary = watched(config(strategy="chord"), tmp_path, client=client)
    assert summary["failures"] == 30
    assert (seen[-2].done, seen[-1].done) == (60, DEVICES)
