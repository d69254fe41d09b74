"""The regression test of the whole method: where taste is hidden from the window, a plan of one's own must help.

Every other interaction of these synthetic users is with charts that everybody follows, the others are with the one
genre and style that a user sticks to; the backbone sees a single item. What the plan knows beyond that item is all
there is to gain.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from chord_fl.cloud.training import train
from chord_fl.cloud.validation import _ranks, split
from chord_fl.config import make_config
from chord_fl.data import dataset
from chord_fl.metrics import ndcg, plan_difference, strangers
from chord_fl.report.paired import sign_flip_p

USERS = 2000
CPU = torch.device("cpu")


class Outcome(NamedTuple):
    own: float
    stranger: float
    p: float
    plan_difference: float


def outcome(folder: Path, standardised: bool, biases: str, hypernetwork_rate: float) -> Outcome:
    """NDCG@10 on the test item, which neither training nor the choice of the epoch saw, averaged over 3 strangers."""
    config = make_config(
        {
            "data": {"name": "synthetic", "taste": "hidden", "items": 500, "devices": USERS},
            "model": {
                "window": 1,
                "blocks": 1,
                "dim": 48,
                "history": 20,
                "standardised": standardised,
                "biases": biases,
            },
            "train": {
                "learning_rate": 0.015,
                "epochs": 6,
                "train_users": USERS,
                "hypernetwork_rate": hypernetwork_rate,
            },
        }
    )
    data = dataset.load(config.data, config.seed)
    users = data.slice(0, USERS)
    model = train(config, users, data.items, "chord", folder).model
    held = split(users, 0, config.model.window, config.model.history)
    with torch.inference_mode():
        codes = model.codes(model.encoder(held.history, model.backbone.items))
        own = ndcg(_ranks(model, held, codes, CPU), 10)
        others = [torch.from_numpy(strangers(USERS, turn)) for turn in range(3)]
        stranger = np.mean([ndcg(_ranks(model, held, codes[other], CPU), 10) for other in others], axis=0)
    return Outcome(
        float(own.mean()), float(stranger.mean()), sign_flip_p(own - stranger), plan_difference(codes.numpy())
    )


def test_ones_own_plan_beats_a_strangers_by_a_fifth(tmp_path: Path) -> None:
    found = outcome(tmp_path / "trained", standardised=True, biases="switchable", hypernetwork_rate=10)
    assert found.own >= 1.2 * found.stranger and found.p < 0.001, found


def test_the_paper_to_the_letter_fails_the_same_control(tmp_path: Path) -> None:
    """So the control can fail: plans that are all alike gain nothing, however well their model ranks."""
    found = outcome(tmp_path / "trained", standardised=False, biases="shared", hypernetwork_rate=1)
    assert found.own < 1.1 * found.stranger, found
