"""Trained matrices: how they travel to a device, and what a device makes of them.

A matrix travels as float32, as integer codes of b bits with a scale and a zero point per channel (in one branch, or in
several whose weights add up), or as a mask over weights that the device regenerates from the seed.
"""

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from chord_fl.errors import WireError
from chord_fl.models.frozen import VECTOR, repeated_weights
from chord_fl.models.layouts import Layer, Layout
from chord_fl.quantization import packed
from chord_fl.quantization.affine import Quantised, dequantise, quantise

FULL_PRECISION_BITS = 32

_MAX_BRANCHES = 8
_FLOAT, _CODED, _MASKED = "float32", "coded", "masked"


class Coded(NamedTuple):
    """A matrix as codes [out, in] of `bits` bits, 1..8; the weights of its branches add up."""

    branches: tuple[Quantised, ...]
    bits: int


class Masked(NamedTuple):
    """A matrix of repeated random weights (`frozen.repeated_weights`), of which `mask` [out, in] bool keeps some."""

    mask: Tensor


Matrix = Tensor | Coded | Masked  # a tensor: float32 [out, in]


def coded(branches: Sequence[Tensor], bits: int) -> Coded:
    """Quantise the branches [out, in] of a matrix, min-max per channel."""
    return Coded(tuple(quantise(branch.detach().cpu(), bits) for branch in branches), bits)


def device_weights(matrices: Sequence[Matrix], layout: Layout, seed: int, scale: float) -> list[Tensor]:
    """The float32 weights [out, in] with which a device computes; `seed` and `scale` are those of the model's spec."""
    repeated = repeated_weights(layout, seed, scale) if _any_masked(matrices) else [None] * len(matrices)
    return [_weights(matrix, base) for matrix, base in zip(matrices, repeated, strict=True)]


def average_bits(matrices: Sequence[Matrix]) -> float:
    """Bits that a device stores per weight, averaged over the weights: b per branch, 1 under a mask."""
    sizes = [_shape(matrix).numel() for matrix in matrices]
    return sum(size * _bits(matrix) for size, matrix in zip(sizes, matrices, strict=True)) / sum(sizes)


def matrix_bytes(matrices: Sequence[Matrix]) -> int:
    """Bytes of a shipment that hold the matrices; biases are shared parameters, as everywhere."""
    return sum(value.numel() * value.element_size() for value in encode(matrices)[0].values())


def memory_bytes(matrices: Sequence[Matrix]) -> int:
    """Bytes that the matrices take on a device: what was shipped, and the random vector that masks select from."""
    return matrix_bytes(matrices) + (4 * VECTOR if _any_masked(matrices) else 0)


def encode(matrices: Sequence[Matrix]) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """The tensors that carry `matrices`, by name, and what the header of the shipment says of each."""
    tensors: dict[str, Tensor] = {}
    header: list[dict[str, Any]] = []
    for index, matrix in enumerate(matrices):
        if isinstance(matrix, Coded):
            header.append({"kind": _CODED, "bits": matrix.bits, "branches": len(matrix.branches)})
            for place, branch in enumerate(matrix.branches):
                tensors[f"{index}.{place}.codes"] = _pack(branch.codes, matrix.bits)
                tensors[f"{index}.{place}.scale"] = branch.scale
                tensors[f"{index}.{place}.zero_point"] = branch.zero_point
        elif isinstance(matrix, Masked):
            header.append({"kind": _MASKED})
            tensors[f"{index}.mask"] = _pack(matrix.mask, 1)
        else:
            header.append({"kind": _FLOAT})
            tensors[str(index)] = matrix.detach().cpu()
    return tensors, header


def decode(tensors: Mapping[str, Tensor], header: object, layout: Layout) -> list[Matrix]:
    """Read `tensors` (float32 or uint8, finite) and `header` as `encode` made them, for a model of `layout`.

    Raises WireError, naming layer and field, for anything missing, superfluous, misshapen or out of range.
    """
    if not isinstance(header, list) or len(header) != len(layout.layers):
        raise WireError(f"shipment: matrices of {len(layout.layers)} layers expected")
    matrices, left = [], dict(tensors)
    for index, (layer, entry) in enumerate(zip(layout.layers, header, strict=True)):
        matrices.append(_decode_layer(left, index, entry, layer))
    if left:
        raise WireError(f"shipment: superfluous tensor weights.{min(left)}")
    return matrices


def _decode_layer(left: dict[str, Tensor], index: int, entry: object, layer: Layer) -> Matrix:
    """The matrix of one layer; its tensors are taken out of `left`."""

    def take(name: str, field: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        value = left.pop(name, None)
        if value is None:
            raise WireError(f"shipment: {layer.name}: no {field}")
        if tuple(value.shape) != shape or value.dtype != dtype:
            raise WireError(
                f"shipment: {layer.name}: {field} is {value.dtype} {list(value.shape)}, expected {dtype} {list(shape)}"
            )
        return value

    def integers(name: str, field: str, bits: int) -> Tensor:
        length = layer.channels * -(-layer.size * bits // 8)
        value = take(name, field, (length,), torch.uint8)
        codes = packed.unpack(value.numpy().tobytes(), np.full(layer.channels, bits), layer.size)
        return torch.from_numpy(codes)

    bits, branches = _announced(entry, layer)
    if branches is None:
        if bits == 1:
            return Masked(integers(f"{index}.mask", "mask", 1).to(torch.bool))
        return take(str(index), "weights", (layer.channels, layer.size), torch.float32)
    found = []
    for place in range(branches):
        name = f"{index}.{place}"
        codes = integers(f"{name}.codes", "codes", bits)
        scale = take(f"{name}.scale", "scale", (layer.channels,), torch.float32)
        zero_point = take(f"{name}.zero_point", "zero_point", (layer.channels,), torch.uint8)
        if not bool((scale > 0).all()):
            raise WireError(f"shipment: {layer.name}: scale is not above 0")
        if int(zero_point.max()) >= 2**bits:
            raise WireError(f"shipment: {layer.name}: zero_point does not fit in {bits} bits")
        found.append(Quantised(codes, scale, zero_point))
    matrix = Coded(tuple(found), bits)
    if not bool(torch.isfinite(_weights(matrix, None)).all()):
        raise WireError(f"shipment: {layer.name}: scale is too large")
    return matrix


def _announced(entry: object, layer: Layer) -> tuple[int, int | None]:
    """Bits and branches that a header announces; None for the branches of what is not coded."""
    if entry == {"kind": _FLOAT}:
        return FULL_PRECISION_BITS, None
    if entry == {"kind": _MASKED}:
        return 1, None
    if not isinstance(entry, dict) or entry.keys() != {"kind", "bits", "branches"} or entry["kind"] != _CODED:
        raise WireError(f"shipment: {layer.name}: kind unknown ({str(entry)[:80]})")
    for field, most in (("bits", 8), ("branches", _MAX_BRANCHES)):
        if type(entry[field]) is not int or not 1 <= entry[field] <= most:
            raise WireError(f"shipment: {layer.name}: {field} = {str(entry[field])[:80]}, allowed are 1 to {most}")
    return entry["bits"], entry["branches"]


def _weights(matrix: Matrix, base: Tensor | None) -> Tensor:
    """Float32 weights of one matrix; `base` are the layer's repeated weights, needed under a mask."""
    if isinstance(matrix, Coded):
        return reduce(torch.add, [dequantise(branch) for branch in matrix.branches])
    if isinstance(matrix, Masked):
        assert base is not None
        return matrix.mask.to(torch.float32) * base
    return matrix.detach().cpu()


def _pack(codes: Tensor, bits: int) -> Tensor:
    data = packed.pack(codes.cpu().to(torch.uint8).numpy(), np.full(len(codes), bits))
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)


def _bits(matrix: Matrix) -> int:
    if isinstance(matrix, Coded):
        return matrix.bits * len(matrix.branches)
    return 1 if isinstance(matrix, Masked) else FULL_PRECISION_BITS


def _shape(matrix: Matrix) -> torch.Size:
    if isinstance(matrix, Coded):
        return matrix.branches[0].codes.shape
    return matrix.mask.shape if isinstance(matrix, Masked) else matrix.shape


def _any_masked(matrices: Sequence[Matrix]) -> bool:
    return any(isinstance(matrix, Masked) for matrix in matrices)
