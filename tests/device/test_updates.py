"""Updates of a cohort: each device learns as if alone, and the mean is by examples."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from chord_fl.device.finetuning import examples, finetune, shipped
from chord_fl.device.updates import mean_update
from tests.device.test_finetuning import MODEL, histories, loss

START = shipped(MODEL)


def flat(weights: list[Tensor], biases: list[Tensor]) -> np.ndarray:
    return np.concatenate([np.asarray(part).ravel() for part in (*weights, *biases)])


def alone(history: Tensor, mu: float = 0.0) -> np.ndarray:
    found = mean_update(MODEL, history[None], START, 2, 0.1, mu)
    return flat(found.weights, found.biases)  # type: ignore[arg-type]


def test_the_mean_of_one_device_is_that_device_bit_for_bit() -> None:
    history = histories(70)
    weights, biases = finetune(MODEL, torch.cat([history[:1], history.new_zeros(63, history.shape[1])]), 2, 0.1)
    wanted = flat([part[0] for part in weights], [part[0] for part in biases])
    assert (alone(history[0]) == wanted).all()


@pytest.mark.parametrize("count", [1, 64, 70, 130])
def test_the_mean_is_by_examples_over_the_devices(count: int) -> None:
    history = histories(count)
    due = examples(MODEL, history).numpy()
    assert due.tolist() == [(row > 0).sum() - 1 for row in history.numpy()]
    found = mean_update(MODEL, history, START, 2, 0.1, 0.0)
    each = np.stack([alone(row) for row in history]).astype(np.float64)
    np.testing.assert_allclose(flat(found.weights, found.biases), due @ each / due.sum(), rtol=1e-6, atol=1e-8)
    losses = [float(loss(row, *START)) for row in history]
    assert found.examples == due.sum() and found.finite.all()
    assert found.loss == pytest.approx(due @ np.array(losses) / due.sum(), rel=1e-5)


def test_a_device_without_examples_weighs_nothing() -> None:
    history = histories(2)
    history[1, :-1] = 0
    both, one = mean_update(MODEL, history, START, 2, 0.1, 0.0), mean_update(MODEL, history[:1], START, 2, 0.1, 0.0)
    assert both.examples == one.examples
    assert (flat(both.weights, both.biases) == flat(one.weights, one.biases)).all()
    assert mean_update(MODEL, history[1:], START, 2, 0.1, 0.0).examples == 0
    assert mean_update(MODEL, history[:0], START, 2, 0.1, 0.0).examples == 0


def test_the_proximal_term_is_that_of_fedprox() -> None:
    """Against torch's own gradient of mu / 2 times the squared distance."""
    history, mu, begun = histories(1)[0], 3.0, [*START[0], *START[1]]
    parts = [nn.Parameter(part.clone()) for part in begun]
    optimiser = torch.optim.SGD(parts, lr=0.1)
    for _ in range(2):
        optimiser.zero_grad()
        distance = torch.stack([(part - origin).square().sum() for part, origin in zip(parts, begun, strict=True)])
        (loss(history, parts[: len(START[0])], parts[len(START[0]) :]) + mu / 2 * distance.sum()).backward()
        optimiser.step()
    wanted = flat([part.detach() for part in parts], [])
    np.testing.assert_allclose(alone(history, mu), wanted, rtol=1e-4, atol=1e-7)
    origin = flat(*START)
    assert np.linalg.norm(alone(history, mu) - origin) < np.linalg.norm(alone(history) - origin)


def test_a_device_that_diverges_is_left_out_and_named() -> None:
    history = histories(3)
    broken = ([part.clone() for part in START[0]], START[1])
    broken[0][0][0, 0] = torch.inf
    found = mean_update(MODEL, history, broken, 1, 0.1, 0.0)
    assert not found.finite.any() and found.examples == 0
