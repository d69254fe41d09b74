import torch
from torch import Tensor

from chord_fl.cloud.importance import Importance
from chord_fl.models.frozen import frozen_weights
from chord_fl.models.layouts import Layer, Layout

LAYOUT = Layout((Layer("a", 6, 5), Layer("b", 4, 3)))
DIM = 7
WEIGHTS = frozen_weights(LAYOUT, 0, 1.0)


def hypernetworks(seed: int = 0) -> Importance:
    torch.manual_seed(seed)
    return Importance(LAYOUT, WEIGHTS, DIM)


def by_hand(model: Importance, profile: Tensor) -> list[Tensor]:
    """Equations 10 and 11 for one user, layer by layer: softmax(filter) × Σ|element|."""
    filters = model.filters.weight @ profile + model.filters.bias
    inputs = model.elements.weight @ profile + model.elements.bias
    importance, first, start = [], 0, 0
    for layer, weight in zip(LAYOUT.layers, WEIGHTS, strict=True):
        own = filters[first : first + layer.channels]
        elements = weight * inputs[start : start + layer.size]
        importance.append(own.exp() / own.exp().sum() * elements.abs().sum(1))
        first, start = first + layer.channels, start + layer.size
    return importance


@torch.no_grad()
def test_scores_are_the_equations_in_logs() -> None:
    model = hypernetworks().eval()  # fresh running statistics: mean 0 and variance 1 change nothing but 1e-5
    profiles = 2 * torch.randn(5, DIM)
    scores, _ = model(profiles)
    for row, profile in enumerate(profiles):
        for found, wanted in zip(scores[row].split(LAYOUT.widths), by_hand(model, profile), strict=True):
            assert found.argsort().tolist() == wanted.argsort().tolist()
            torch.testing.assert_close(found.exp(), wanted, rtol=1e-3, atol=1e-5)


def test_the_gradient_is_that_of_the_equations() -> None:
    model = hypernetworks().eval()
    profile = torch.randn(DIM, requires_grad=True)
    pull = torch.randn(LAYOUT.channels)
    trained = [profile, *model.filters.parameters(), *model.elements.parameters()]
    scores, _ = model(profile[None])
    found = torch.autograd.grad((scores[0] * pull).sum(), trained)
    wanted = torch.autograd.grad((torch.cat(by_hand(model, profile)).log() * pull).sum(), trained)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_layer_scores_come_from_their_own_hypernetwork() -> None:
    model = hypernetworks().eval()
    profiles = torch.randn(5, DIM)
    wanted = profiles @ model.layers.weight.T + model.layers.bias
    torch.testing.assert_close(model(profiles)[1], wanted, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_deployed_nobody_elses_profile_shows_in_a_score() -> None:
    model = hypernetworks()
    model(3 + torch.randn(64, DIM))  # some running statistics
    model.eval()
    profiles = torch.randn(6, DIM)
    together = model(profiles)
    others = model(torch.cat([profiles[:1], 100 * torch.randn(9, DIM)]))
    alone = model(profiles[:1])
    for of_all, of_others, of_one in zip(together, others, alone, strict=True):
        torch.testing.assert_close(of_all[:1], of_one)
        torch.testing.assert_close(of_others[:1], of_one)


@torch.no_grad()
def test_in_training_each_score_is_standardised_across_users() -> None:
    channels, layers = hypernetworks().train()(1 + torch.randn(200, DIM))
    for scores in (channels, layers):
        torch.testing.assert_close(scores.mean(0), torch.zeros(scores.shape[1]), atol=1e-4, rtol=0)
        torch.testing.assert_close(scores.var(0, unbiased=False), torch.ones(scores.shape[1]), atol=0.05, rtol=0)


def test_gradient_reaches_every_hypernetwork_and_the_profile() -> None:
    model = hypernetworks()
    profiles = torch.randn(8, DIM, requires_grad=True)
    channels, layers = model(profiles)
    ((channels * torch.randn_like(channels)).sum() + (layers * torch.randn_like(layers)).sum()).backward()
    assert profiles.grad is not None and profiles.grad.abs().sum() > 0
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


@torch.no_grad()
def test_the_levels_of_the_ablation_add_up() -> None:
    profiles = torch.randn(5, DIM)
    filters = Importance(LAYOUT, WEIGHTS, DIM, "filter").eval()
    assert filters.elements is None and filters.layers is None
    scores, layers = filters(profiles)
    logits = profiles @ filters.filters.weight.T + filters.filters.bias
    wanted = torch.cat([part.log_softmax(1) for part in logits.split(LAYOUT.widths, dim=1)], dim=1)
    torch.testing.assert_close(scores, wanted, rtol=1e-3, atol=1e-4)
    assert layers is None
    elements = Importance(LAYOUT, WEIGHTS, DIM, "element").eval()
    full = hypernetworks().eval()
    full.load_state_dict(elements.state_dict(), strict=False)
    assert torch.equal(elements(profiles)[0], full(profiles)[0]) and elements(profiles)[1] is None
