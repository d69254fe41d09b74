from itertools import pairwise

import pytest
import torch

from chord_fl.baselines.adabits import WIDTHS, AdaBits, clipped
from chord_fl.models.spec import ModelSpec
from chord_fl.quantization.affine import fake_quantise, quantise

SPEC = ModelSpec("sasrec", 30, 2, 8, 5, 9, (2, 4, 6, 8), 5, 1.0)
WEIGHTS = torch.randn(6, 9, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("bits", range(1, 9))
def test_without_clipping_it_is_the_affine_quantiser(bits: int) -> None:
    codes, scale, zero_point = clipped(WEIGHTS, torch.tensor(1.0), bits)
    wanted = quantise(WEIGHTS, bits)
    assert torch.equal(codes, wanted.codes.float()) and torch.equal(zero_point, wanted.zero_point.float())
    assert torch.equal(scale, wanted.scale)


def test_a_lower_level_clips_more_and_rounds_finer() -> None:
    codes, scale, zero_point = clipped(WEIGHTS, torch.tensor(0.5), 4)
    weights = (codes - zero_point[:, None]) * scale[:, None]
    assert torch.equal(scale, clipped(WEIGHTS, torch.tensor(1.0), 4)[1] / 2)
    assert (weights.amax(1) < 0.6 * WEIGHTS.amax(1)).all()
    inside = (0.4 * WEIGHTS.amax(1, keepdim=True) > WEIGHTS) & (0.4 * WEIGHTS.amin(1, keepdim=True) < WEIGHTS)
    error = (weights - WEIGHTS).abs()[inside].max()
    assert error < (fake_quantise(WEIGHTS, 4) - WEIGHTS).abs()[inside].max()


def test_channels_of_zeros_and_of_one_sign_are_no_trouble() -> None:
    for weights in (torch.zeros(2, 3), torch.full((2, 3), 0.7), torch.full((2, 3), -0.7)):
        codes, scale, zero_point = clipped(weights, torch.tensor(0.9), 3)
        assert bool(torch.isfinite(codes).all()) and bool((scale > 0).all())
        assert bool(((codes >= 0) & (codes <= 7)).all()) and bool(((zero_point >= 0) & (zero_point <= 7)).all())


def test_gradients_know_what_was_clipped() -> None:
    weights, share = WEIGHTS.clone().requires_grad_(), torch.tensor(0.5, requires_grad=True)
    codes, scale, zero_point = clipped(weights, share, 3)
    ((codes - zero_point[:, None]) * scale[:, None]).sum().backward()
    assert weights.grad is not None and share.grad is not None and share.grad != 0
    high, low = 0.5 * WEIGHTS.amax(1, keepdim=True), 0.5 * WEIGHTS.amin(1, keepdim=True)
    step = scale.detach()[:, None]
    assert not weights.grad[(high + step < WEIGHTS) | (low - step > WEIGHTS)].any()
    within = (high - step > WEIGHTS) & (low + step < WEIGHTS)
    torch.testing.assert_close(weights.grad[within], torch.ones_like(weights.grad[within]))


def test_every_width_has_weights_and_levels_of_its_own_and_all_are_trained() -> None:
    torch.manual_seed(0)
    model = AdaBits(SPEC)
    by_width = [model.at(bits) for bits in WIDTHS]
    for one, other in pairwise(by_width):
        assert all(not torch.equal(a, b) for a, b in zip(one, other, strict=True))
    for layers, bits in zip(by_width, WIDTHS, strict=True):
        assert all(len(row.unique()) <= 2**bits for weight in layers for row in weight)
    windows = torch.randint(1, 31, (6, 5))
    passes = list(model.training_passes(windows, windows))
    assert len(passes) == len(WIDTHS)
    torch.stack([(states * torch.randn_like(states)).sum() for states in passes]).sum().backward()
    assert model.levels.grad is not None and model.levels.grad.shape == (10, len(WIDTHS))
    assert bool((model.levels.grad != 0).all())
    # evaluation and devices use the middle one
    assert all(torch.equal(a, b) for a, b in zip(model.deployed(), by_width[1], strict=True))
