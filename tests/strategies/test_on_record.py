"""What a run keeps of its plans and of its devices, for reports."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from chord_fl.config import Config
from chord_fl.data import dataset
from chord_fl.device.population import traits
from tests.inprocess import DEVICES, ITEMS, only, simulate

Make = Callable[..., Config]


def test_channels_are_counted_over_the_plans_of_each_round(config: Make, tmp_path: Path) -> None:
    # a node whose profiles are lost makes no plans in either round
    lost = only(1, lambda message, place: None, "profile")
    settings = config(simulation__rounds=2)
    finished = simulate(settings, tmp_path, on_reply=lost)
    table = pd.read_parquet(tmp_path / "channels.parquet")
    assert len(table) == 2 * 5 * 16 * 4  # rounds, layers, channels, widths: as many rows as for a million devices
    for number, rows in table.groupby("round"):
        there = int((finished.devices.query("round == @number")["status"] == "ok").sum())
        assert 0 < there < DEVICES
        counts = rows.pivot(index=["layer", "channel"], columns="bits", values="devices").to_numpy(dtype=np.float64)
        assert (counts.sum(axis=1) == there).all()
        # how much plans differ follows from the counts alone
        differing = 1 - (counts * (counts - 1)).sum(axis=1) / (there * (there - 1))
        difference = finished.rounds.set_index("round").loc[number, "plan_difference"]
        assert differing.mean() == pytest.approx(difference)


def test_a_strategy_without_plans_has_no_channels(config: Make, tmp_path: Path) -> None:
    simulate(config(strategy="static"), tmp_path)
    assert not (tmp_path / "channels.parquet").exists() and (tmp_path / "devices.parquet").exists()


def test_phones_are_those_that_were_simulated(config: Make, tmp_path: Path) -> None:
    settings = config()
    simulate(settings, tmp_path)
    phones = pd.read_parquet(tmp_path / "phones.parquet")
    assert phones["device"].tolist() == list(range(DEVICES))
    expected = traits("phones", settings.seed, 0, DEVICES)
    np.testing.assert_array_equal(phones["ram_gb"], expected.ram_gb)
    np.testing.assert_array_equal(phones["score"], expected.score)
    lengths = dataset.load(settings.data, settings.seed).slice(0, DEVICES).lengths
    np.testing.assert_array_equal(phones["history"], lengths)
    assert phones["history"].between(3, ITEMS).all()
