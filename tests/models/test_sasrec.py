import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from chord_fl.models.linear import linear
from chord_fl.models.sasrec import SASRec

ITEMS, WINDOW, BLOCKS, DIM = 25, 6, 2, 8


def backbone() -> SASRec:
    torch.manual_seed(0)
    found = SASRec(ITEMS, WINDOW, BLOCKS, DIM).eval()
    with torch.no_grad():
        for parameter in found.parameters():
            if parameter.dim() == 1:
                parameter += 0.1 * torch.randn_like(parameter)  # biases and norms that do something
    return found


def matrices(seed: int = 1, *batch: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(*batch, DIM, DIM, generator=generator) for _ in range(5 * BLOCKS)]


def windows(count: int, seed: int = 2) -> Tensor:
    return torch.randint(1, ITEMS + 1, (count, WINDOW), generator=torch.Generator().manual_seed(seed))


def by_hand(model: SASRec, items: list[int], weights: list[Tensor]) -> Tensor:
    """The published equations for one sequence without padding, one position at a time."""
    first = WINDOW - len(items)
    states = [
        model.items.weight[item] * math.sqrt(DIM) + model.positions.weight[first + place]
        for place, item in enumerate(items)
    ]
    for block in range(BLOCKS):
        parts = list(zip(weights[5 * block :], model.biases[5 * block :], strict=False))
        query, key, value, inner, outer = [lambda x, w=w, b=b: w @ x + b for w, b in parts[:5]]
        after = []
        for place, state in enumerate(states):
            normed = model.attention_norms[block](state)
            logits = [query(normed) @ key(other) / math.sqrt(DIM) for other in states[: place + 1]]
            shares = torch.stack(logits).softmax(0)
            attended = sum(share * value(other) for share, other in zip(shares, states, strict=False))
            mixed = model.pointwise_norms[block](normed + attended)
            after.append(mixed + outer(F.relu(inner(mixed))))
        states = after
    return torch.stack([model.final_norm(state) for state in states])


@torch.no_grad()
@pytest.mark.parametrize("length", [1, 3, WINDOW])
def test_states_are_those_of_the_published_equations(length: int) -> None:
    model, weights = backbone(), matrices()
    items = windows(1)[0, :length].tolist()
    padded = torch.tensor([[0] * (WINDOW - length) + items])
    found = model(padded, weights)[0, WINDOW - length :]
    torch.testing.assert_close(found, by_hand(model, items, weights), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_a_later_item_changes_no_earlier_state() -> None:
    model, weights, before = backbone(), matrices(), windows(4)
    states = model(before, weights)
    for place in range(WINDOW):
        changed = before.clone()
        changed[:, place] = changed[:, place] % ITEMS + 1
        after = model(changed, weights)
        torch.testing.assert_close(after[:, :place], states[:, :place], rtol=0, atol=0)
        assert not torch.allclose(after[:, place], states[:, place], atol=1e-3)


@torch.no_grad()
def test_positions_are_counted_from_the_right_and_padding_is_not_seen() -> None:
    model, weights = backbone(), matrices()
    short = torch.tensor([[4, 9]])
    wanted = model(short, weights)
    for padding in range(1, WINDOW - 1):
        padded = F.pad(short, (padding, 0))
        torch.testing.assert_close(model(padded, weights)[:, -2:], wanted, rtol=1e-5, atol=1e-5)
    model.items.weight[0] = 50.0  # nor is what padding would hold
    torch.testing.assert_close(model(F.pad(short, (4, 0)), weights)[:, -2:], wanted, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_windows_of_nothing_stay_finite() -> None:
    assert torch.isfinite(backbone()(torch.zeros(2, WINDOW, dtype=torch.int64), matrices())).all()


@torch.no_grad()
@pytest.mark.parametrize("each", [1, 3])
def test_weights_per_device_are_as_good_as_a_loop_over_devices(each: int) -> None:
    model, weights, inputs = backbone(), matrices(1, 4), windows(4 * each)
    inputs[1, :3] = 0
    together = model(inputs, weights)
    for device in range(4):
        rows = slice(device * each, (device + 1) * each)
        alone = model(inputs[rows], [weight[device] for weight in weights])
        torch.testing.assert_close(together[rows], alone, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_biases_per_device_stand_in_for_the_shared_ones() -> None:
    model, weights, inputs = backbone(), matrices(1, 3), windows(6)
    biases = [torch.randn(3, DIM) for _ in range(5 * BLOCKS)]
    together = model(inputs, weights, biases)
    for device in range(3):
        rows = slice(2 * device, 2 * device + 2)
        own = [weight[device] for weight in weights], [bias[device] for bias in biases]
        torch.testing.assert_close(together[rows], model(inputs[rows], *own), rtol=1e-4, atol=1e-5)
    shared = [bias.expand(3, -1) for bias in model.biases]
    torch.testing.assert_close(model(inputs, weights, shared), model(inputs, weights), rtol=1e-5, atol=1e-5)


def test_linear_takes_a_matrix_for_all_or_one_each() -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(6, 2, 5, generator=generator)
    weights, biases = torch.randn(3, 4, 5, generator=generator), torch.randn(3, 4, generator=generator)
    shared = linear(inputs, weights[0], biases[0])
    torch.testing.assert_close(shared, torch.einsum("ntk,ok->nto", inputs, weights[0]) + biases[0])
    each = linear(inputs, weights, biases)
    for row in range(6):
        torch.testing.assert_close(each[row], inputs[row] @ weights[row // 2].T + biases[row // 2])


def test_scores_are_products_with_the_item_embeddings() -> None:
    model = backbone()
    states = torch.randn(3, DIM)
    scores = model.score(states)
    assert scores.shape == (3, ITEMS + 1) and not scores[:, 0].any()
    torch.testing.assert_close(scores[1, 7], states[1] @ model.items.weight[7])


def test_dropout_works_in_training_alone() -> None:
    model, weights, inputs = SASRec(ITEMS, WINDOW, BLOCKS, DIM, dropout=0.5), matrices(), windows(3)
    model.train()
    assert not torch.equal(model(inputs, weights), model(inputs, weights))
    model.eval()
    assert torch.equal(model(inputs, weights), model(inputs, weights))
