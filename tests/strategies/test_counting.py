"""Strategies that count instead of learning: the same rounds, population and accounting as the others."""

import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from chord_fl.config import Config
from chord_fl.data import dataset
from chord_fl.device.counting import local_to, ranks_of_counts
from chord_fl.models.counts import unpack
from simulations import options, prepare, train_cli
from strategies.base import MostDevicesFailedError
from strategies.messages import devices_of, payload_of
from tests.inprocess import DEVICES, Finished, InProcessGrid, assert_same_results, go, settle, simulate

Make = Callable[..., Config]
STRATEGIES = ["popular", "covisitation"]
VARIANTS: dict[str, dict[str, Any]] = {
    "as usual": {},
    "seen excluded": {"simulation__seen": "exclude"},
    "candidates": {"simulation__candidates": 20},
    "candidates, seen excluded": {"simulation__candidates": 20, "simulation__seen": "exclude"},
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_cohort_does_not_show_in_the_results(config: Make, tmp_path: Path, strategy: str, variant: str) -> None:
    settings = config(strategy=strategy, **VARIANTS[variant])
    runs = [simulate(settings, tmp_path / str(nodes), nodes, seed=nodes) for nodes in (1, 7, DEVICES)]
    assert (runs[0].devices["error"] == "").all() and (runs[0].devices["rank"] >= 1).all()
    for other in runs[1:]:
        assert_same_results(runs[0].devices, other.devices)
        pd.testing.assert_frame_equal(runs[0].by_purpose().sort_index(), other.by_purpose().sort_index())


@pytest.mark.parametrize("seen", ["keep", "exclude"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_ranks_are_those_of_the_table_that_was_shipped(config: Make, tmp_path: Path, strategy: str, seen: str) -> None:
    settings = config(strategy=strategy, simulation__seen=seen)
    finished = simulate(settings, tmp_path)
    payload = (tmp_path / "shipment.safetensors").read_bytes()
    table = unpack(payload, hashlib.sha256(payload).hexdigest())
    devices = local_to(table, dataset.load(settings.data, settings.seed).slice(0, DEVICES), seen == "exclude")
    np.testing.assert_array_equal(finished.devices["rank"], ranks_of_counts(table, devices))
    assert (finished.devices["memory_bytes"] == table.nbytes).all()
    assert bool(table.neighbours.size) == (strategy == "covisitation")


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_byte_is_accounted(config: Make, tmp_path: Path, strategy: str) -> None:
    finished = simulate(config(strategy=strategy, simulation__rounds=2), tmp_path)
    size = (tmp_path / "shipment.safetensors").stat().st_size
    sent = finished.by_purpose()["payload_bytes"]
    assert (sent["weights"] == finished.devices["memory_bytes"].iloc[0]).all()
    assert (sent["weights"] + sent["provisioning"] == size).all()
    rows = finished.devices
    assert (rows["downlink_bytes"][rows["round"] == 1] == size).all()
    assert (rows.loc[rows["round"] == 2, ["uplink_bytes", "downlink_bytes"]] == 0).all(axis=None)
    assert finished.summary["adaptation_bytes"] == sent["weights"].sum()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_candidates_come_without_embeddings(config: Make, tmp_path: Path, strategy: str) -> None:
    finished = simulate(config(strategy=strategy, simulation__candidates=20), tmp_path)
    sent = finished.by_purpose()["payload_bytes"]["candidates"]
    assert (sent == 16 + 20 * 4).all() and (finished.devices["rank"] <= 20).all()
    sizes = {
        int(device): len(part)
        for message in finished.grid.sent
        for device, part in zip(devices_of(message), payload_of(message, "candidates"), strict=False)
    }
    assert sizes == sent.to_dict()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_population_is_that_of_the_other_strategies(config: Make, tmp_path: Path, strategy: str) -> None:
    mine = simulate(config(strategy=strategy), tmp_path / "mine").devices
    other = simulate(config(strategy="static"), tmp_path / "other").devices
    assert mine["memory_budget_bytes"].tolist() == other["memory_budget_bytes"].tolist()
    few = simulate(config(strategy=strategy, data__devices=40), tmp_path / "40").devices
    assert_same_results(few, mine.head(40))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_what_does_not_apply_is_not_claimed(config: Make, tmp_path: Path, strategy: str) -> None:
    finished = simulate(config(strategy=strategy), tmp_path)
    written = json.loads((tmp_path / "summary.json").read_text())
    assert written["param_mbit"] is None and written["plan_difference"] is None and written["hr@10_stranger"] is None
    assert written["average_bits"] == 0 and written["checkpoint"] == ""
    assert math.isfinite(written["ndcg@10"]) and finished.summary["failures"] == 0


@pytest.mark.parametrize("candidates", [0, 20])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_table_that_was_tampered_with(config: Make, tmp_path: Path, strategy: str, candidates: int) -> None:
    settings = config(strategy=strategy, simulation__candidates=candidates)
    made, _ = settle(settings, tmp_path, 3)
    content = bytearray(made.shipment.path.read_bytes())
    content[-1] ^= 1
    made.shipment.path.write_bytes(content)
    with pytest.raises(MostDevicesFailedError, match=r"90 of 90 devices failed; .*SHA-256"):
        go(Finished(tmp_path, made, InProcessGrid(3)), settings)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_nodes_without_devices_do_no_harm(config: Make, tmp_path: Path, strategy: str) -> None:
    settings = config(strategy=strategy, data__devices=5)
    assert_same_results(
        simulate(settings, tmp_path / "few", 2).devices, simulate(settings, tmp_path / "many", 8).devices
    )


def test_there_is_nothing_to_train(
    config: Make, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = config(strategy="covisitation", train__checkpoint=str(tmp_path))
    (tmp_path / "config.toml").write_text('method = "chord"\n')  # somebody else's checkpoint is none of its business
    prepare.check_checkpoint(settings)
    monkeypatch.setattr(options, "resolve", lambda **flags: settings)
    train_cli.train()
    assert "Nothing to train" in capsys.readouterr().out
    assert not (tmp_path / "training.csv").exists()
