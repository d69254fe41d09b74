import torch
from torch import Tensor, nn

from chord_fl.models.profile import ProfileEncoder

DIM, ITEMS = 6, 20


def encoder() -> tuple[ProfileEncoder, nn.Embedding]:
    torch.manual_seed(0)
    found, items = ProfileEncoder(DIM), nn.Embedding(ITEMS + 1, DIM, padding_idx=0)
    return found, items


def step_by_step(found: ProfileEncoder, items: nn.Embedding, history: list[int]) -> Tensor:
    cell = nn.GRUCell(DIM, DIM)
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in found.gru.state_dict().items()})
    state = torch.zeros(1, DIM)
    for item in history:
        state = cell(items.weight[item][None], state)
    return state[0]


@torch.no_grad()
def test_a_profile_is_the_state_after_the_last_real_item() -> None:
    found, items = encoder()
    histories = [[3], [3, 4], [1, 2, 3, 4, 5], [9, 9, 9], list(range(1, 8))]
    padded = torch.tensor([[0] * (7 - len(history)) + history for history in histories])
    profiles = found(padded, items)
    for history, profile in zip(histories, profiles, strict=True):
        torch.testing.assert_close(profile, step_by_step(found, items, history), rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_padding_does_not_matter_not_even_its_embedding() -> None:
    found, items = encoder()
    short = found(torch.tensor([[5, 2, 8]]), items)
    for padding in (1, 2, 9):
        torch.testing.assert_close(found(torch.tensor([[0] * padding + [5, 2, 8]]), items), short)
    items.weight[0] = 100.0
    torch.testing.assert_close(found(torch.tensor([[0, 0, 5, 2, 8]]), items), short)


@torch.no_grad()
def test_who_did_nothing_has_a_profile_of_zeros() -> None:
    found, items = encoder()
    profiles = found(torch.tensor([[0, 0, 0], [0, 0, 7]]), items)
    assert not profiles[0].any() and profiles[1].any()


@torch.no_grad()
def test_order_matters() -> None:
    found, items = encoder()
    first, second = found(torch.tensor([[1, 2, 3], [3, 2, 1]]), items)
    assert not torch.allclose(first, second, atol=1e-3)


def test_gradient_reaches_encoder_and_embeddings_of_the_history_alone() -> None:
    found, items = encoder()
    found(torch.tensor([[0, 0, 4, 9], [0, 0, 0, 0]]), items).sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in found.parameters())
    assert items.weight.grad is not None
    assert items.weight.grad.any(1).nonzero().flatten().tolist() == [4, 9]
