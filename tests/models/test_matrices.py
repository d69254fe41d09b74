from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from chord_fl.errors import WireError
from chord_fl.models.frozen import KEPT, VECTOR, repeated_weights
from chord_fl.models.layouts import Layer, Layout
from chord_fl.models.matrices import (
    Coded,
    Masked,
    Matrix,
    average_bits,
    coded,
    decode,
    device_weights,
    encode,
    matrix_bytes,
    memory_bytes,
)
from chord_fl.quantization.affine import Quantised, fake_quantise

SEED, SCALE = 3, 1.5


@st.composite
def models(draw: st.DrawFn) -> tuple[list[Matrix], Layout]:
    """A layout of layers of any shape, and a matrix of any kind for each."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    matrices: list[Matrix] = []
    layers = []
    for index in range(draw(st.integers(1, 4))):
        shape = draw(st.integers(1, 6)), draw(st.integers(1, 11))
        layers.append(Layer(f"layer{index}", *shape))
        kind, bits = draw(st.sampled_from(["float", "coded", "masked"])), draw(st.integers(1, 8))
        branches = [torch.randn(shape, generator=generator) for _ in range(draw(st.integers(1, 3)))]
        if kind == "float":
            matrices.append(branches[0])
        elif kind == "coded":
            matrices.append(coded(branches, bits))
        else:
            matrices.append(Masked(branches[0] > 0))
    return matrices, Layout(tuple(layers))


def same(one: Matrix, other: Matrix) -> bool:
    if isinstance(one, Coded) and isinstance(other, Coded):
        pairs = zip(one.branches, other.branches, strict=True)
        parts = (torch.equal(a, b) for here, there in pairs for a, b in zip(here, there, strict=True))
        return one.bits == other.bits and all(parts)
    if isinstance(one, Masked) and isinstance(other, Masked):
        return torch.equal(one.mask, other.mask)
    return isinstance(one, Tensor) and isinstance(other, Tensor) and torch.equal(one, other)


@given(models())
def test_what_arrives_is_what_was_sent(model: tuple[list[Matrix], Layout]) -> None:
    matrices, layout = model
    tensors, header = encode(matrices)
    arrived = decode(tensors, header, layout)
    assert all(same(one, other) for one, other in zip(matrices, arrived, strict=True))
    assert matrix_bytes(arrived) == sum(value.numel() * value.element_size() for value in tensors.values())
    assert average_bits(arrived) == average_bits(matrices) and memory_bytes(arrived) == memory_bytes(matrices)
    weights = device_weights(arrived, layout, SEED, SCALE)
    assert [tuple(weight.shape) for weight in weights] == [(layer.channels, layer.size) for layer in layout.layers]
    assert all(weight.dtype == torch.float32 and bool(torch.isfinite(weight).all()) for weight in weights)


def test_branches_add_up_and_bits_with_them() -> None:
    one, other = torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(0))
    layout = Layout((Layer("layer", 4, 6),))
    (weight,) = device_weights([coded([one, other], 2)], layout, SEED, SCALE)
    assert torch.equal(weight, fake_quantise(one, 2) + fake_quantise(other, 2))
    assert average_bits([coded([one, other], 2)]) == 4
    # 6 codes of 2 bits take 2 bytes, a scale and a zero point 5 more, for 4 channels, twice
    assert matrix_bytes([coded([one, other], 2)]) == memory_bytes([coded([one, other], 2)]) == 2 * 4 * (2 + 5)


def test_average_bits_are_weighted_by_the_weights() -> None:
    assert average_bits([torch.zeros(2, 10), coded([torch.zeros(2, 30)], 4)]) == (20 * 32 + 60 * 4) / 80
    assert average_bits([Masked(torch.ones(2, 10, dtype=torch.bool))]) == 1


def test_a_mask_keeps_repeated_weights_and_takes_the_vector_in_memory() -> None:
    layout = Layout((Layer("one", 20, 30), Layer("other", 4, 9)))
    masks = [torch.rand(layer.channels, layer.size) < 0.5 for layer in layout.layers]
    matrices: list[Matrix] = [Masked(mask) for mask in masks]
    for weight, mask, base in zip(
        device_weights(matrices, layout, SEED, SCALE), masks, repeated_weights(layout, SEED, SCALE), strict=True
    ):
        assert torch.equal(weight[mask], base[mask]) and not weight[~mask].any()
    assert matrix_bytes(matrices) == 20 * 4 + 4 * 2  # a channel begins on a byte
    assert memory_bytes(matrices) == matrix_bytes(matrices) + 4 * VECTOR


def test_repeated_weights_repeat_one_vector() -> None:
    layout = Layout((Layer("one", 64, 64), Layer("other", 4, 20)))
    large, small = repeated_weights(layout, 0, 1.0)
    flat = large.flatten()
    assert torch.equal(flat[:VECTOR], flat[VECTOR : 2 * VECTOR]) and len(flat.unique()) == VECTOR
    torch.testing.assert_close(small.flatten() / flat[:80], torch.full((80,), (128 / 24) ** 0.5))
    assert len({tuple(row.tolist()) for row in large}) == 64  # no two rows alike
    # as much variance under a mask as Xavier's weights have
    assert float(large.square().mean()) * KEPT == pytest.approx(2 / 128, rel=0.15)
    other = repeated_weights(layout, 1, 1.0)[0]
    assert not torch.equal(large, other)


LAYOUT = Layout((Layer("first", 3, 5), Layer("second", 2, 4), Layer("third", 2, 9)))


def sent() -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    generator = torch.Generator().manual_seed(5)
    first, second, third = (torch.randn(layer.channels, layer.size, generator=generator) for layer in LAYOUT.layers)
    return encode([first, coded([second, second / 3], 3), Masked(third > 0)])


def refusal(tensors: dict[str, Tensor], header: object) -> str:
    with pytest.raises(WireError) as error:
        decode(tensors, header, LAYOUT)
    return str(error.value)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("0", None, "first: no weights"),
        ("0", torch.zeros(5, 3), "first: weights is"),
        ("0", torch.zeros(3, 5, dtype=torch.uint8), "first: weights is"),
        ("1.0.codes", None, "second: no codes"),
        ("1.1.codes", torch.zeros(5, dtype=torch.uint8), "second: codes is"),
        ("1.0.scale", None, "second: no scale"),
        ("1.0.scale", torch.ones(3), "second: scale is"),
        ("1.0.scale", torch.tensor([1.0, 0.0]), "second: scale is not above 0"),
        ("1.0.scale", torch.tensor([-1.0, 1.0]), "second: scale is not above 0"),
        ("1.0.scale", torch.full((2,), 3e38), "second: scale is too large"),
        ("1.1.zero_point", torch.full((2,), 8, dtype=torch.uint8), "second: zero_point does not fit in 3 bits"),
        ("1.1.zero_point", torch.zeros(2), "second: zero_point is"),
        ("2.mask", None, "third: no mask"),
        ("2.mask", torch.zeros(3, dtype=torch.uint8), "third: mask is"),
        ("3", torch.zeros(1), "superfluous tensor weights.3"),
        ("1.2.codes", torch.zeros(1), "superfluous tensor weights.1.2.codes"),
    ],
)
def test_a_tensor_that_does_not_fit_is_refused_by_name(name: str, value: Tensor | None, message: str) -> None:
    tensors, header = sent()
    tensors.pop(name, None)
    if value is not None:
        tensors[name] = value
    assert message in refusal(tensors, header)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"kind": "float16"}, "kind unknown"),
        ({"kind": "coded"}, "kind unknown"),
        ({"kind": "float32", "bits": 32}, "kind unknown"),
        ({"kind": ["coded"], "bits": 3, "branches": 2}, "kind unknown"),
        ({"kind": "coded", "bits": 3, "branches": 2, "more": 1}, "kind unknown"),
        ("coded", "kind unknown"),
        (None, "kind unknown"),
        ({"kind": "coded", "bits": 0, "branches": 2}, "bits = 0"),
        ({"kind": "coded", "bits": 9, "branches": 2}, "bits = 9"),
        ({"kind": "coded", "bits": 3.0, "branches": 2}, "bits = 3.0"),
        ({"kind": "coded", "bits": True, "branches": 2}, "bits = True"),
        ({"kind": "coded", "bits": 4, "branches": 2}, ""),  # as many bytes
        ({"kind": "coded", "bits": 5, "branches": 2}, "codes is"),
        ({"kind": "coded", "bits": 3, "branches": 0}, "branches = 0"),
        ({"kind": "coded", "bits": 3, "branches": 10**9}, "branches = 1000000000"),
        ({"kind": "coded", "bits": 3, "branches": "2"}, "branches = 2"),
        ({"kind": "coded", "bits": 3, "branches": 3}, "no codes"),
        ({"kind": "coded", "bits": 3, "branches": 1}, "superfluous"),
        ({"kind": "float32"}, "no weights"),
        ({"kind": "masked"}, "no mask"),
    ],
)
def test_an_announcement_that_does_not_fit_is_refused(entry: object, message: str) -> None:
    tensors, header = sent()
    announced = [header[0], entry, header[2]]
    if message:
        found = refusal(tensors, announced)
        assert message in found and ("second" in found or message == "superfluous")
    else:  # what no check can tell from a codec of its own: the fingerprint of the shipment does
        decode(tensors, announced, LAYOUT)


@pytest.mark.parametrize("header", [None, {}, 3, "coded", [], [{"kind": "float32"}] * 2, [{"kind": "float32"}] * 4])
def test_a_header_of_another_model_is_refused(header: object) -> None:
    assert "matrices of 3 layers" in refusal(sent()[0], header)


@given(st.data())
def test_codes_of_all_widths_survive(data: st.DataObject) -> None:
    bits, out, size = data.draw(st.integers(1, 8)), data.draw(st.integers(1, 4)), data.draw(st.integers(1, 20))
    numbers = st.lists(st.integers(0, 2**bits - 1), min_size=out * size, max_size=out * size)
    codes = torch.tensor(data.draw(numbers), dtype=torch.uint8).reshape(out, size)
    zero_point = torch.tensor(data.draw(st.lists(st.integers(0, 2**bits - 1), min_size=out, max_size=out)))
    matrix = Coded((Quantised(codes, torch.rand(out) + 0.1, zero_point.to(torch.uint8)),), bits)
    (arrived,) = decode(*encode([matrix]), Layout((Layer("layer", out, size),)))
    assert same(matrix, arrived)
