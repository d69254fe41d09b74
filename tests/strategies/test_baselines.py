"""The five compression baselines as strategies: rounds, bytes and bits, without Ray."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load

from chord_fl.config import Config
from chord_fl.data import dataset
from chord_fl.device.model import unpack
from chord_fl.device.ranking import local, ranks_of_weights
from chord_fl.models import layouts
from chord_fl.models.matrices import average_bits, memory_bytes
from strategies import STRATEGIES, loading
from tests.inprocess import DEVICES, assert_same_results, simulate

BASELINES = ["pemn", "quant", "adabits", "rfquant", "mbquant"]

Make = Callable[..., Config]

every = pytest.mark.parametrize("strategy", BASELINES)


def test_they_stand_together_in_the_order_of_the_paper() -> None:
    names = list(STRATEGIES)
    assert names[:3] == ["chord", "static", "finetune"] and names[3:8] == BASELINES


@every
def test_devices_rank_with_what_they_unpacked(config: Make, tmp_path: Path, strategy: str) -> None:
    settings = config(strategy=strategy)
    finished = simulate(settings, tmp_path)
    shipment = finished.strategy.shipment
    model = unpack(shipment.path.read_bytes(), shipment.sha256)
    mine = local(model, dataset.load(settings.data, settings.seed).slice(0, DEVICES), False)
    rows = finished.devices
    assert rows["rank"].tolist() == ranks_of_weights(model, mine, model.weights, None).tolist()
    matrices = finished.strategy.trained.model.matrices()
    assert np.allclose(rows["average_bits"], average_bits(matrices)) and rows["average_bits"].max() <= 3
    assert (rows["memory_bytes"] == memory_bytes(matrices)).all()
    assert finished.strategy.method == strategy and finished.strategy.action == "static"


@every
def test_matrices_are_accounted_apart_from_what_everybody_downloads(
    config: Make, tmp_path: Path, strategy: str
) -> None:
    finished = simulate(config(strategy=strategy), tmp_path)
    payload = finished.strategy.shipment.payload
    matrices = sum(value.nbytes for name, value in load(payload).items() if name.startswith("weights."))
    bytes_ = finished.by_purpose()["payload_bytes"]
    assert (bytes_["weights"] == matrices).all() and (bytes_["provisioning"] == len(payload) - matrices).all()
    assert 0 < matrices < 4 * finished.strategy.trained.model.spec.layout.weights / 3


@every
def test_a_cohort_gives_each_device_what_it_gets_alone(
    config: Make, clean: Callable[[str], pd.DataFrame], tmp_path: Path, strategy: str
) -> None:
    finished = simulate(config(strategy=strategy, simulation__devices_per_node=1), tmp_path, nodes=DEVICES)
    assert_same_results(clean(strategy), finished.devices)


@pytest.mark.parametrize(("strategy", "mbit"), [(name, 0.2048 if name == "pemn" else 0.2867) for name in BASELINES])
def test_param_is_that_of_table_2(config: Make, strategy: str, mbit: float) -> None:
    assert round(loading.load(strategy).param_mbit(config(static__bits=8), layouts.sasrec(4, 64)), 4) == mbit
