import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from chord_fl.baselines.rfquant import BITS, KEEP, WIDTHS, RFQuant, allocate
from chord_fl.models.spec import ModelSpec

SPEC = ModelSpec("sasrec", 30, 2, 8, 5, 9, (2, 4, 6, 8), 5, 1.0)
EPOCHS = 8

Run = tuple[RFQuant, torch.optim.Optimizer]


def fresh() -> Run:
    torch.manual_seed(0)
    model = RFQuant(SPEC)
    return model, torch.optim.Adam(model.parameters(), 0.01)


def epoch(run: Run, number: int) -> None:
    """As training does it: randomness belongs to the epoch."""
    model, optimiser = run
    torch.manual_seed(1000 + number)
    model.train()
    model.begin_epoch(number, EPOCHS)
    for _ in range(4):
        windows = torch.randint(1, 31, (8, 5))
        (states,) = model.training_passes(windows, windows)
        optimiser.zero_grad()
        (states * torch.randn_like(states)).sum().backward()
        optimiser.step()


def test_freezing_only_goes_forward_and_leaves_every_layer_two() -> None:
    run = fresh()
    model, _ = run
    counts = []
    before = model.frozen.clone()
    for number in range(1, EPOCHS + 1):
        epoch(run, number)
        assert bool((model.frozen | ~before).all())  # nothing thaws
        assert bool(((~model.frozen).sum(1) >= KEEP).all())
        before = model.frozen.clone()
        counts.append(int(before.sum()))
    assert counts[0] == 0 and counts == sorted(counts)
    assert 0 < counts[2] < counts[-1] == len(before) * (len(WIDTHS) - KEEP)


def test_the_most_turbulent_bit_widths_freeze_first(monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = fresh()
    model.begin_epoch(1, 8)
    turbulence = torch.zeros(10, len(WIDTHS))
    turbulence[7, 2], turbulence[3, 0], turbulence[3, 1] = 9.0, 8.0, 7.0
    monkeypatch.setattr(model, "_turbulence", lambda: turbulence)
    model.begin_epoch(2, 8)  # a quarter of the way: two of ten
    assert model.frozen.nonzero().tolist() == [[3, 0], [7, 2]]
    model.begin_epoch(3, 8)  # layer 3 has only two left
    assert int(model.frozen.sum()) == 5 and not bool(model.frozen[3, 1])


def test_turbulence_is_that_of_the_rounding() -> None:
    """Weights that hardly move, over a threshold: the coarser the rounding, the wilder."""
    model, _ = fresh()
    model.begin_epoch(1, 8)
    with torch.no_grad():
        for weight in model.weights:
            weight += 1e-3 * torch.randn_like(weight)
        found = model._turbulence()
    assert found.shape == (10, len(WIDTHS)) and bool(torch.isfinite(found).all())
    assert found.mean(0)[0] > found.mean(0)[-1] > 0


def test_frozen_bit_widths_are_no_longer_drawn() -> None:
    model, _ = fresh()
    model.frozen[:, 0] = True
    seen: set[int] = set()
    original = model.states

    def watch(windows: Tensor, weights: list[Tensor]) -> Tensor:
        seen.update(max(len(row.unique()) for row in weight) for weight in weights)
        return original(windows, weights)

    model.states = watch  # type: ignore[method-assign, assignment]
    windows = torch.randint(1, 31, (4, 5))
    for _ in range(20):
        list(model.training_passes(windows, windows))
    assert min(seen) > 4 and max(seen) <= 16


def test_an_interrupted_training_goes_on_to_the_same_bits() -> None:
    whole = fresh()
    for number in range(1, 4):
        epoch(whole, number)
    state, optimiser = copy.deepcopy(whole[0].state_dict()), copy.deepcopy(whole[1].state_dict())
    assert bool(whole[0].frozen.any())
    resumed = fresh()
    resumed[0].load_state_dict(state)
    resumed[1].load_state_dict(optimiser)
    for number in range(4, EPOCHS + 1):
        epoch(whole, number)
        epoch(resumed, number)
    wanted = whole[0].state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in resumed[0].state_dict().items())
    assert resumed[0].widths() == whole[0].widths()


def test_sensitivity_remembers_gradients_of_training_only() -> None:
    run = fresh()
    model, _ = run
    assert not model.sensitivity.any()
    epoch(run, 1)
    assert bool((model.sensitivity > 0).all())
    before = model.sensitivity.clone()
    windows = torch.randint(1, 31, (4, 5))
    model.eval()(windows, windows)
    assert torch.equal(model.sensitivity, before)


def test_sensitive_layers_get_the_bits() -> None:
    model, _ = fresh()
    model.sensitivity.copy_(torch.tensor([1.0] * 5 + [100.0] * 5))
    assert model.widths() == [2] * 5 + [4] * 5


def test_no_layer_is_deployed_at_a_bit_width_that_training_left() -> None:
    model, _ = fresh()
    model.sensitivity.copy_(torch.tensor([1.0] * 5 + [100.0] * 5))
    model.frozen[:5, 0] = True  # not at 2 bits
    model.frozen[5:, 1] = True  # not at 3
    assert sum(model.widths()) <= BITS * 10 and sorted(set(model.widths())) == [2, 3, 4]
    assert all(not model.frozen[layer, WIDTHS.index(bits)] for layer, bits in enumerate(model.widths()))


layers = st.lists(
    st.tuples(st.integers(1, 500), st.lists(st.floats(0, 1), min_size=len(WIDTHS), max_size=len(WIDTHS))), min_size=1
)


@given(layers)
def test_the_budget_is_kept_and_spent(drawn: list[tuple[int, list[float]]]) -> None:
    sizes = [size for size, _ in drawn]
    every = [range(len(WIDTHS))] * len(sizes)
    chosen = allocate([sorted(errors, reverse=True) for _, errors in drawn], sizes, every)
    used = sum(WIDTHS[place] * size for place, size in zip(chosen, sizes, strict=True))
    assert used <= BITS * sum(sizes)
    # nothing that could be widened within the budget was left
    left = BITS * sum(sizes) - used
    for place, size in zip(chosen, sizes, strict=True):
        assert place == len(WIDTHS) - 1 or (WIDTHS[place + 1] - WIDTHS[place]) * size > left
