import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from chord_fl.data.synthetic import generate, make_catalogue
from chord_fl.device.finetuning import finetune, next_item_windows, ranks_after_finetuning
from chord_fl.device.model import DeviceModel
from chord_fl.device.ranking import Candidates, local, ranks_of_weights
from chord_fl.models.spec import ModelSpec

SPEC = ModelSpec("sasrec", 60, 1, 8, 5, 13, (2, 4, 6, 8), 5, 1.0)
POPULATION = generate(make_catalogue(SPEC.items, 3), 0, 130)

torch.manual_seed(0)
MODEL = DeviceModel(SPEC, SPEC.build_backbone().eval().requires_grad_(False), None, SPEC.frozen_weights(), 32, b"abcd")


def histories(count: int) -> Tensor:
    found = local(MODEL, POPULATION, False).history[:count].clone()
    found[1:2, :-3] = 0  # one device with a short history
    return found


def loss(history: Tensor, weights: list[Tensor], biases: list[Tensor]) -> Tensor:
    """Mean next-item cross-entropy of one device [h], one window at a time."""
    losses = []
    inputs, targets = history[:-1], history[1:]
    for end in range(len(inputs), 0, -SPEC.window):
        window, wanted = (part[max(0, end - SPEC.window) : end] for part in (inputs, targets))
        due = window > 0
        logits = MODEL.backbone.score(MODEL.backbone(window[None], weights, biases)[0][due])[:, 1:]
        losses.append(F.cross_entropy(logits, wanted[due] - 1, reduction="none"))
    return torch.cat(losses).mean()


def test_every_item_but_the_first_is_predicted_once() -> None:
    history = torch.tensor([[1, 2, 3, 4, 5, 6], [0, 0, 0, 0, 8, 9]])
    windows, targets = next_item_windows(history, 0, 3)
    assert windows.tolist() == [[0, 1, 2], [3, 4, 5], [0, 0, 0], [0, 0, 8]]
    assert targets.tolist() == [[0, 2, 3], [4, 5, 6], [0, 0, 0], [0, 8, 9]]
    windows, targets = next_item_windows(history, 2, 3)  # two items more before each
    assert windows.tolist() == [[0, 0, 0, 1, 2], [1, 2, 3, 4, 5], [0, 0, 0, 0, 0], [0, 0, 0, 0, 8]]
    assert targets.tolist() == [[0, 2, 3], [4, 5, 6], [0, 0, 0], [0, 8, 9]]


def test_each_device_trains_as_if_alone_with_torchs_sgd() -> None:
    history = histories(4)
    weights, biases = finetune(MODEL, history, 3, 0.1)
    for device in range(4):
        own = [nn.Parameter(weight.clone()) for weight in MODEL.weights]
        shifts = [nn.Parameter(bias.clone()) for bias in MODEL.backbone.biases]
        optimiser = torch.optim.SGD(own + shifts, lr=0.1)
        for _ in range(3):
            optimiser.zero_grad()
            loss(history[device], own, shifts).backward()
            optimiser.step()
        found = [part[device] for part in weights + biases]
        for mine, wanted in zip(found, own + shifts, strict=True):
            torch.testing.assert_close(mine, wanted.detach(), rtol=1e-3, atol=1e-5)


def test_steps_lower_the_devices_own_loss() -> None:
    history = histories(6)
    before = [loss(own, MODEL.weights, list(MODEL.backbone.biases)) for own in history]
    weights, biases = finetune(MODEL, history, 5, 0.05)
    for device in range(6):
        after = loss(history[device], [w[device] for w in weights], [b[device] for b in biases])
        assert after < before[device]


def test_no_gradient_crosses_devices() -> None:
    history = histories(6)
    weights, biases = finetune(MODEL, history, 3, 0.5)
    others = torch.cat([history[:1], histories(130)[100:105]])
    again, shifts = finetune(MODEL, others, 3, 0.5)
    for one, other in zip(weights + biases, again + shifts, strict=True):
        assert torch.equal(one[0], other[0])
        assert not torch.equal(one[1:], other[1:])


def test_nothing_of_it_stays() -> None:
    shared = [part.clone() for part in [*MODEL.weights, *MODEL.backbone.parameters()]]
    finetune(MODEL, histories(3), 4, 0.5)
    assert all(torch.equal(x, y) for x, y in zip(shared, [*MODEL.weights, *MODEL.backbone.parameters()], strict=True))
    assert all(parameter.grad is None for parameter in MODEL.backbone.parameters())


@pytest.mark.parametrize("history", [[[0] * 12 + [7], [0] * 13], [[7], [0]]])
def test_who_has_nothing_to_learn_from_keeps_the_shared_weights(history: list[list[int]]) -> None:
    weights, biases = finetune(MODEL, torch.tensor(history), 3, 1.0)
    shared = [*MODEL.weights, *MODEL.backbone.biases]
    for own, wanted in zip(weights + biases, shared, strict=True):
        assert torch.equal(own, wanted.expand_as(own))


def test_no_steps_are_the_shared_weights() -> None:
    devices = local(MODEL, POPULATION, False)
    ranks, _ = ranks_after_finetuning(MODEL, devices, 0, 0.1)
    np.testing.assert_array_equal(ranks, ranks_of_weights(MODEL, devices, MODEL.weights))


@pytest.mark.parametrize("exclude_seen", [False, True])
def test_ranks_are_those_of_the_weights_that_each_device_trained(exclude_seen: bool) -> None:
    devices = local(MODEL, POPULATION, exclude_seen)
    ranks, seconds = ranks_after_finetuning(MODEL, devices, 3, 0.3)
    assert seconds > 0
    assert (ranks != ranks_of_weights(MODEL, devices, MODEL.weights)).any()
    for device in range(0, 130, 13):
        row = np.array([device])
        weights, biases = finetune(MODEL, devices.history[row], 3, 0.3)
        with torch.no_grad():
            states = MODEL.backbone(devices.windows[row], weights, biases)[0, -1]
            scores = MODEL.backbone.score(states)
        scores[0] = -torch.inf
        target = int(devices.targets[device])
        if devices.seen is not None:
            scores[[item for item in devices.seen[device].tolist() if item != target]] = -torch.inf
        assert ranks[device] == 1 + int((scores > scores[target]).sum())


@pytest.mark.parametrize("size", [1, 5, 64, 65, 130])
@pytest.mark.parametrize("with_candidates", [False, True])
def test_a_rank_is_the_same_alone_and_in_any_cohort(size: int, with_candidates: bool) -> None:
    devices = local(MODEL, POPULATION, True)
    generator = torch.Generator().manual_seed(0)
    items = torch.stack([torch.randperm(SPEC.items, generator=generator)[:9] + 1 for _ in range(130)])
    items[:, 4] = torch.where((items == devices.targets[:, None]).any(1), items[:, 4], devices.targets)
    rows = np.random.default_rng(size).permutation(130)[:size]

    def ranks(chosen: np.ndarray) -> list[int]:
        offered = Candidates(items[chosen], MODEL.backbone.items.weight[items[chosen]]) if with_candidates else None
        return ranks_after_finetuning(MODEL, devices.of(chosen), 3, 0.3, offered)[0].tolist()

    together = ranks(rows)
    assert len(together) == size and (not with_candidates or max(together) <= 9)
    for place in range(0, size, 1 + size // 8):
        assert ranks(rows[place : place + 1]) == together[place : place + 1]


def test_a_devices_weights_are_bit_for_bit_those_it_trains_in_any_place() -> None:
    history = histories(64)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    first, second = finetune(MODEL, history, 3, 0.3), finetune(MODEL, history[order], 3, 0.3)
    for one, other in zip(first[0] + first[1], second[0] + second[1], strict=True):
        assert torch.equal(one[order], other)
