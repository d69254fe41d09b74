import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from chord_fl.quantization.affine import Quantised, dequantise, fake_quantise, quantise
from chord_fl.quantization.packed import average_bits, pack, packed_bytes, unpack

layers = st.tuples(st.integers(1, 9), st.integers(1, 30), st.integers(0, 2**32 - 1))


def layer(shape: tuple[int, int, int]) -> tuple[torch.Tensor, NDArray[np.int64]]:
    channels, size, seed = shape
    generator = np.random.default_rng(seed)
    weights = generator.normal(size=(channels, size)).astype(np.float32)
    return torch.from_numpy(weights), generator.integers(1, 9, channels)


@settings(deadline=None)
@given(layers)
def test_packed_weights_are_exactly_the_fake_quantised_ones(shape: tuple[int, int, int]) -> None:
    weights, bits = layer(shape)
    codes, scale, zero_point = quantise(weights, torch.from_numpy(bits))
    packed = pack(codes.numpy(), bits)
    restored = torch.from_numpy(unpack(packed, bits, weights.shape[1]))
    assert torch.equal(restored, codes)
    restored_weights = dequantise(Quantised(restored, scale, zero_point))
    assert torch.equal(restored_weights, fake_quantise(weights, torch.from_numpy(bits)))


@settings(deadline=None)
@given(st.lists(layers, min_size=1, max_size=3))
def test_the_memory_formula_is_the_real_size(shapes: list[tuple[int, int, int]]) -> None:
    real, widths, sizes = 0, [], []
    for shape in shapes:
        weights, bits = layer(shape)
        codes, scale, zero_point = quantise(weights, torch.from_numpy(bits))
        real += len(pack(codes.numpy(), bits)) + scale.numpy().nbytes + zero_point.numpy().nbytes
        widths.append(bits)
        sizes.append(np.full(len(bits), weights.shape[1]))
    plan = np.concatenate(widths)
    assert packed_bytes(np.stack([plan, plan]), np.concatenate(sizes)).tolist() == [real, real]


def test_the_documented_layout() -> None:
    codes = np.array([[1, 2, 3, 0, 1], [15, 1, 0, 8, 2], [1, 0, 0, 0, 0]], np.uint8)
    first = [0b00_11_10_01, 0b01]
    second = [0x1F, 0x80, 0x02]
    third = [1, 0, 0, 0, 0]
    assert pack(codes, np.array([2, 4, 8])) == bytes(first + second + third)


def test_a_paper_sized_model_in_bytes() -> None:
    sizes = np.full(1280, 64)
    assert packed_bytes(np.array([[2], [3], [8]]).repeat(1280, axis=1), sizes).tolist() == [
        1280 * (16 + 5),
        1280 * (24 + 5),
        1280 * (64 + 5),
    ]


def test_average_bits_weigh_channels_by_their_size() -> None:
    bits = np.array([[8, 2], [2, 2], [2, 8]], np.uint8)
    np.testing.assert_allclose(average_bits(bits, np.array([300, 100])), [6.5, 2.0, 3.5])


@pytest.mark.parametrize("bits", [0, 9])
def test_widths_out_of_range_are_refused(bits: int) -> None:
    with pytest.raises(ValueError, match=r"1\.\.8"):
        pack(np.zeros((2, 4), np.uint8), np.array([2, bits]))
    with pytest.raises(ValueError, match=r"1\.\.8"):
        unpack(bytes(5), np.array([2, bits]), 4)


def test_codes_that_do_not_fit_and_wrong_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        pack(np.array([[0, 4]], np.uint8), np.array([2]))
    with pytest.raises(ValueError, match="found 2 bytes, expected 1"):
        unpack(bytes(2), np.array([2]), 4)
