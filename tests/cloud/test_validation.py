import math

import numpy as np
import pytest
import torch

from chord_fl.cloud.model import ChordModel, FullPrecision
from chord_fl.cloud.validation import split, validate
from chord_fl.data.interactions import Interactions
from chord_fl.data.synthetic import generate, make_catalogue
from chord_fl.metrics import plan_difference, strangers
from chord_fl.models.spec import ModelSpec

SPEC = ModelSpec("sasrec", 40, 2, 8, 4, 10, (2, 4, 6, 8), 5, 2.0)
USERS = generate(make_catalogue(SPEC.items, 3), 0, 30)
CPU = torch.device("cpu")


def chord() -> ChordModel:
    torch.manual_seed(0)
    model = ChordModel(SPEC, 0.125, 0.3)
    held = split(USERS, 1, SPEC.window, SPEC.history)
    with torch.no_grad():
        for _ in range(30):
            model(held.history, held.windows)  # running statistics, so that plans differ
    return model.eval()


@pytest.mark.parametrize("drop", [0, 1])
def test_the_held_item_and_what_follows_are_no_input(drop: int) -> None:
    # every interaction is of an item of its own
    lengths = np.array([3, 8, 40, 5])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    unique = Interactions(np.arange(1, offsets[-1] + 1, dtype=np.int32), offsets)
    held = split(unique, drop, 4, 10)
    for user in range(4):
        own = unique.items[offsets[user] : offsets[user + 1]].tolist()
        known = own[: len(own) - 1 - drop]
        assert held.targets[user] == own[-1 - drop]
        for part, length in ((held.history, 10), (held.windows, 4)):
            assert part[user].tolist() == ([0] * length + known)[-length:]


def naive(model: ChordModel, plan_of: list[int]) -> tuple[float, float]:
    """NDCG@10 and HR@10 of each user under the plan of user `plan_of`, one by one."""
    held = split(USERS, 1, SPEC.window, SPEC.history)
    gains = []
    for user, other in enumerate(plan_of):
        codes = model.plan(model.encoder(held.history[other : other + 1], model.backbone.items)).codes
        scores = model.backbone.score(model.with_codes(codes, held.windows[user : user + 1])[0, -1])[1:]
        rank = 1 + int((scores > scores[held.targets[user] - 1]).sum())
        gains.append(1 / math.log2(rank + 1) if rank <= 10 else 0.0)
    return float(np.mean(gains)), float(np.mean(np.array(gains) > 0))


@torch.no_grad()
def test_own_and_strangers_plans_are_measured_over_the_full_catalogue() -> None:
    model = chord()
    held = split(USERS, 1, SPEC.window, SPEC.history)
    found = validate(model, held, 7, CPU)
    own, other = naive(model, list(range(30))), naive(model, strangers(30, 7).tolist())
    assert (found.ndcg_10, found.hr_10) == pytest.approx(own)
    assert (found.ndcg_10_stranger, found.hr_10_stranger) == pytest.approx(other)
    codes = model.plan(model.encoder(held.history, model.backbone.items)).codes
    assert found.plan_difference == plan_difference(codes.numpy()) > 0


def test_the_full_precision_model_has_no_control() -> None:
    torch.manual_seed(0)
    found = validate(FullPrecision(SPEC).eval(), split(USERS, 1, SPEC.window, SPEC.history), 7, CPU)
    assert found.ndcg_10 >= 0 and found.hr_10 >= 0
    assert all(math.isnan(x) for x in (found.ndcg_10_stranger, found.hr_10_stranger, found.plan_difference))


def test_figures_carry_the_names_of_a_runs_summary() -> None:
    names = validate(chord(), split(USERS, 1, SPEC.window, SPEC.history), 7, CPU).to_dict().keys()
    assert set(names) == {"ndcg@10", "hr@10", "ndcg@10_stranger", "hr@10_stranger", "plan_difference"}


def test_padding_is_never_an_answer() -> None:
    model = chord()
    with torch.no_grad():
        model.backbone.items.weight[1:] = 0.0  # all items tie, at 0 like padding; the earlier column goes first
    held = split(USERS, 1, SPEC.window, SPEC.history)
    found = validate(model, held, 7, CPU)
    assert found.hr_10 == pytest.approx(float((held.targets <= 10).float().mean()))
