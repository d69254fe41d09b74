from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from chord_fl.quantization.affine import fake_quantise, quantise

numbers = st.floats(-1e6, 1e6, width=32).map(lambda x: 0.0 if abs(x) < 1e-20 else x)
channels = (
    st.integers(1, 12)
    .flatmap(lambda size: st.lists(st.lists(numbers, min_size=size, max_size=size), min_size=1, max_size=6))
    .map(lambda rows: torch.tensor(rows, dtype=torch.float32))
)
widths = st.integers(1, 8)


@settings(deadline=None)
@given(channels, widths)
def test_no_weight_is_off_by_more_than_half_a_step(weights: Tensor, bits: int) -> None:
    quantised = quantise(weights, bits)
    error = (fake_quantise(weights, bits).double() - weights.double()).abs()
    reach = weights.abs().amax(-1, keepdim=True).double()
    assert (error <= quantised.scale[:, None].double() / 2 + 1e-6 * reach).all()


@settings(deadline=None)
@given(channels, widths)
def test_codes_and_zero_points_fit_their_width(weights: Tensor, bits: int) -> None:
    codes, scale, zero_point = quantise(weights, bits)
    assert codes.dtype == zero_point.dtype == torch.uint8
    assert int(codes.max()) < 2**bits and int(zero_point.max()) < 2**bits
    assert scale.dtype == torch.float32 and bool((scale > 0).all())


@settings(deadline=None)
@given(channels, widths)
def test_zero_is_exact(weights: Tensor, bits: int) -> None:
    with_zero = torch.cat([weights, torch.zeros(len(weights), 1)], dim=1)
    assert (fake_quantise(with_zero, bits)[:, -1] == 0).all()


@settings(deadline=None)
@given(numbers, st.integers(1, 9), widths)
def test_a_constant_channel_keeps_its_value(value: float, size: int, bits: int) -> None:
    weights = torch.full((1, size), value)
    torch.testing.assert_close(fake_quantise(weights, bits), weights, rtol=2**-23, atol=0)


@settings(deadline=None)
@given(channels, widths)
def test_order_is_kept(weights: Tensor, bits: int) -> None:
    assert (fake_quantise(weights.sort(dim=-1).values, bits).diff(dim=-1) >= 0).all()


@settings(deadline=None)
@given(channels, st.integers(1, 7))
def test_a_bit_more_at_least_halves_the_step(weights: Tensor, bits: int) -> None:
    moving = weights.abs().amax(-1) > 0
    coarse, fine = quantise(weights, bits).scale[moving], quantise(weights, bits + 1).scale[moving]
    assert (fine <= coarse * 0.5).all()


@settings(deadline=None)
@given(channels)
def test_more_bits_are_never_worse_where_the_grids_are_nested(weights: Tensor) -> None:
    # a bit more can take a weight off the grid (1/3 is on that of 2 bits, not on that of 3); from 1 to 2 to 4 to 8 bits
    # every grid contains the one before, once all weights are on one side of zero
    positive = weights.abs()
    errors = [(fake_quantise(positive, bits).double() - positive.double()).abs().amax(-1) for bits in (1, 2, 4, 8)]
    for coarse, fine in pairwise(errors):
        assert (fine <= coarse + 1e-6 * positive.amax(-1)).all()


@settings(deadline=None)
@given(channels, st.data())
def test_a_width_per_channel_is_the_same_as_channel_by_channel(weights: Tensor, data: st.DataObject) -> None:
    bits = data.draw(st.lists(widths, min_size=len(weights), max_size=len(weights)))
    together = fake_quantise(weights, torch.tensor(bits))
    for row, width in enumerate(bits):
        assert torch.equal(together[row], fake_quantise(weights[row], width))


def test_known_codes() -> None:
    codes, scale, zero_point = quantise(torch.tensor([[-1.0, 0.0, 0.4, 2.0]]), 2)
    assert (codes.tolist(), scale.tolist(), zero_point.tolist()) == ([[0, 1, 1, 3]], [1.0], [1])


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_refused(number: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        quantise(torch.tensor([[1.0, number]]), 4)


@pytest.mark.parametrize("bits", [0, 9, -1, torch.tensor([4, 9]), torch.tensor([0, 4])])
def test_bits_out_of_range_are_refused(bits: int | Tensor) -> None:
    with pytest.raises(ValueError, match=r"1\.\.8"):
        quantise(torch.ones(2, 3), bits)
