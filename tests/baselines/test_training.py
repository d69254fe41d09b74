"""The cloud's own training loop over the baselines: interrupted anywhere, it ends at the same bits."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from chord_fl.baselines import BASELINES
from chord_fl.cloud import checkpoint
from chord_fl.cloud.training import Epoch, train
from chord_fl.config import make_config
from chord_fl.data.synthetic import generate, make_catalogue

ITEMS = 60
USERS = generate(make_catalogue(ITEMS, 3), 0, 24)


class InterruptionError(Exception):
    """Someone pulled the plug."""


@pytest.mark.parametrize("backbone", ["sasrec", "caser"])
@pytest.mark.parametrize("name", BASELINES)
def test_an_interrupted_training_resumes_to_the_same_bits(name: str, backbone: str, tmp_path: Path) -> None:
    config = make_config(
        {
            "seed": 1,
            "data": {"name": "synthetic", "items": ITEMS},
            "model": {"backbone": backbone, "blocks": 1, "dim": 8, "window": 4, "history": 12},
            "train": {"epochs": 5, "patience": 9, "batch_size": 8, "train_users": 24, "learning_rate": 0.01},
        }
    )

    def interrupt(epoch: Epoch) -> None:
        if epoch.epoch == 3:
            raise InterruptionError

    losses: list[float] = []
    whole = train(config, USERS, ITEMS, name, tmp_path / "whole", lambda epoch: losses.append(epoch.loss))
    assert losses[-1] < losses[0]
    with pytest.raises(InterruptionError):
        train(config, USERS, ITEMS, name, tmp_path / "broken", interrupt)
    torch.rand(3)
    train(config, USERS, ITEMS, name, tmp_path / "broken")
    one, other = (load_file(tmp_path / folder / checkpoint.MODEL_FILE) for folder in ("whole", "broken"))
    assert one.keys() == other.keys() and all(torch.equal(value, other[key]) for key, value in one.items())
    # what was loaded deploys as what was trained
    again = checkpoint.load(whole.folder, config, name, ITEMS).model
    assert all(torch.equal(a, b) for a, b in zip(again.deployed(), whole.model.deployed(), strict=True))
