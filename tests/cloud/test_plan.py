import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from chord_fl.cloud.plan import LEVELS, plan, plan_codes, refine, tiers
from chord_fl.models import layouts
from chord_fl.models.layouts import Layer, Layout
from chord_fl.quantization.packed import average_bits

LAYOUT = Layout((Layer("a", 8, 5), Layer("b", 16, 3), Layer("c", 8, 5)))


def scores(seed: int, rows: int, columns: int) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


@given(st.integers(1, 70), st.floats(0, 0.5, exclude_max=True), st.integers(0, 2**32 - 1))
def test_the_top_channels_get_code_3_and_the_next_as_many_code_1(channels: int, beta: float, seed: int) -> None:
    size = round(beta * channels)
    drawn = scores(seed, 3, channels)
    for row, codes in zip(drawn, tiers(drawn, beta, 0.3).codes, strict=True):
        assert torch.bincount(codes, minlength=4).tolist() == [channels - 2 * size, size, 0, size]
        best = row.argsort(descending=True)
        assert (codes[best[:size]] == 3).all() and (codes[best[size : 2 * size]] == 1).all()


@given(st.integers(1, 40), st.floats(0, 0.5, exclude_max=True), st.integers(0, 3))
def test_ties_do_not_change_the_size_of_a_tier(channels: int, beta: float, distinct: int) -> None:
    drawn = (torch.arange(2 * channels).reshape(2, channels) % (distinct + 1)).float()
    size = round(beta * channels)
    for codes in tiers(drawn, beta, 0.3).codes:
        assert torch.bincount(codes, minlength=4).tolist() == [channels - 2 * size, size, 0, size]


@pytest.mark.parametrize(("beta", "bits"), [(0.125, 3.0), (0.0625, 2.5), (0.0, 2.0)])
def test_average_bits_are_the_papers_before_layers_move(beta: float, bits: float) -> None:
    layout = layouts.sasrec(4, 64)
    parts = scores(1, 5, layout.channels).split(layout.widths, dim=1)
    codes = torch.cat([tiers(part, beta, 0.3).codes for part in parts], dim=1).long()
    ladder = torch.tensor([2, 4, 6, 8])
    assert average_bits(ladder[codes].numpy(), layout.sizes).tolist() == [bits] * 5


def test_average_bits_are_3_on_the_ladder_of_table_4() -> None:
    codes = tiers(scores(1, 5, 64), 0.125, 0.3).codes.long()
    assert torch.tensor([2, 5, 6, 7])[codes].float().mean(1).tolist() == [3.0] * 5


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.125, 0.25, 0.45]))
def test_one_layer_climbs_one_falls_and_the_rest_stay(seed: int, beta: float) -> None:
    drawn, layers = scores(seed, 4, LAYOUT.channels), scores(seed + 1, 4, 3)
    result = plan(drawn, layers, LAYOUT, beta, 0.3)
    parts = [tiers(part, beta, 0.3).codes.long() for part in drawn.split(LAYOUT.widths, dim=1)]
    for row in range(4):
        for index, part in enumerate(result.codes[row].split(LAYOUT.widths)):
            step = int(index == layers[row].argmax()) - int(index == layers[row].argmin())
            assert part.tolist() == (parts[index][row] + step).clamp(0, 3).tolist()
            assert step or not (part == 2).any()  # code 2 comes from moving a layer alone


def test_code_2_comes_from_both_directions() -> None:
    result = plan(scores(3, 1, LAYOUT.channels), torch.tensor([[1.0, 0.0, -1.0]]), LAYOUT, 0.125, 0.3)
    climbed, stayed, fallen = (sorted(part.tolist()) for part in result.codes[0].split(LAYOUT.widths))
    assert climbed == [1] * 6 + [2, 3]  # 0 -> 1, 1 -> 2, 3 stays at the top
    assert stayed == [0] * 12 + [1] * 2 + [3] * 2
    assert fallen == [0] * 7 + [2]  # 3 -> 2, 1 -> 0, 0 stays at the bottom


def test_a_single_layer_does_not_move() -> None:
    layout = Layout((Layer("only", 8, 4),))
    drawn = scores(0, 2, 8)
    assert torch.equal(plan(drawn, scores(1, 2, 1), layout, 0.25, 0.3).codes, tiers(drawn, 0.25, 0.3).codes)


@given(st.integers(0, 2**32 - 1), st.floats(0, 0.5, exclude_max=True), st.floats(0.01, 10))
def test_gates_are_a_distribution(seed: int, beta: float, temperature: float) -> None:
    drawn = 5 * scores(seed, 3, LAYOUT.channels)
    gates = plan(drawn, 3 * scores(seed + 1, 3, 3), LAYOUT, beta, temperature).gates
    assert gates.shape == (3, LAYOUT.channels, LEVELS)
    assert (gates >= -1e-6).all()
    torch.testing.assert_close(gates.sum(-1), torch.ones(3, LAYOUT.channels))


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.125, 0.25, 0.4]))
def test_cold_gates_are_the_codes(seed: int, beta: float) -> None:
    # scores well apart, in an order of their own: what is tested is not the distance between neighbours
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.stack([torch.randperm(LAYOUT.channels, generator=generator).float() for _ in range(4)])
    layers = torch.stack([torch.randperm(3, generator=generator).float() for _ in range(4)])
    codes, gates = plan(drawn, layers, LAYOUT, beta, 0.01)
    torch.testing.assert_close(gates, F.one_hot(codes.long(), LEVELS).float(), atol=1e-4, rtol=0)


def test_gradient_reaches_channel_and_layer_scores() -> None:
    drawn, layers = scores(0, 3, LAYOUT.channels).requires_grad_(), scores(1, 3, 3).requires_grad_()
    gates = plan(drawn, layers, LAYOUT, 0.125, 0.3).gates
    pull = scores(2, 3 * LAYOUT.channels, LEVELS).view_as(gates)
    for_scores, for_layers = torch.autograd.grad((gates * pull).sum(), (drawn, layers))
    assert (for_scores != 0).all() and (for_layers != 0).all()
    # a higher score wants more bits: the expected bit-width grows with a channel's own score
    ladder = torch.tensor([2.0, 4.0, 6.0, 8.0])
    (up,) = torch.autograd.grad((tiers(drawn, 0.125, 0.3).gates @ ladder).sum(), drawn)
    assert (up > 0).all()


def test_a_layers_score_pulls_its_own_channels_up() -> None:
    layers = scores(1, 2, 3).requires_grad_()
    drawn = scores(0, 2, LAYOUT.channels)
    ladder = torch.tensor([2.0, 4.0, 6.0, 8.0])
    widths = (plan(drawn, layers, LAYOUT, 0.125, 0.3).gates @ ladder).split(LAYOUT.widths, dim=1)
    for index, width in enumerate(widths):
        (gradient,) = torch.autograd.grad(width.sum(), layers, retain_graph=True)
        assert (gradient[:, index] > 0).all()


def test_refining_keeps_every_device_apart() -> None:
    drawn, layers = scores(0, 6, LAYOUT.channels), scores(1, 6, 3)
    together = plan(drawn, layers, LAYOUT, 0.125, 0.3)
    for row in range(6):
        alone = plan(drawn[row : row + 1], layers[row : row + 1], LAYOUT, 0.125, 0.3)
        assert torch.equal(alone.codes[0], together.codes[row])
        torch.testing.assert_close(alone.gates[0], together.gates[row])
    assert len({tuple(codes.tolist()) for codes in together.codes}) == 6


def test_layers_of_equal_score_move_nowhere() -> None:
    part = tiers(scores(0, 2, LAYOUT.channels), 0.125, 0.3)
    assert torch.equal(refine(*part, torch.zeros(2, 3), LAYOUT, 0.3).codes, part.codes)


def test_without_layer_scores_no_layer_moves() -> None:
    drawn, gates_at = scores(4, 5, LAYOUT.channels), 0.3
    found = plan(drawn, None, LAYOUT, 0.25, gates_at)
    parts = [tiers(part, 0.25, gates_at) for part in drawn.split(LAYOUT.widths, dim=1)]
    assert torch.equal(found.codes, torch.cat([part.codes for part in parts], dim=1))
    torch.testing.assert_close(found.gates, torch.cat([part.gates for part in parts], dim=1))
    assert torch.equal(plan_codes(drawn, None, LAYOUT, 0.25), found.codes)
