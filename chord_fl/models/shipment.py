"""What the cloud ships to a device once: shared parameters as safetensors, frozen weights as a seed and their hash.

The trained model of the baselines ships the same way, its matrices among the tensors: as float32, or quantised and
packed to b bits with a scale and a zero point per channel.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import safetensors
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from chord_fl.errors import WireError
from chord_fl.models.frozen import fingerprint
from chord_fl.models.profile import ProfileEncoder
from chord_fl.models.sasrec import SASRec
from chord_fl.models.spec import ModelSpec
from chord_fl.quantization.affine import Quantised, dequantise, quantise
from chord_fl.quantization.packed import pack as pack_codes
from chord_fl.quantization.packed import packed_bytes
from chord_fl.quantization.packed import unpack as unpack_codes

FULL_PRECISION_BITS = 32

_MAX_BYTES = 2**31
_SPEC_KEY = "chord-fl spec"


@dataclass(frozen=True)
class Shipped:
    """A model as a device holds it after unpacking: ready to rank, in evaluation mode."""

    spec: ModelSpec
    backbone: SASRec
    encoder: ProfileEncoder | None  # None where nothing is personalised by a profile
    weights: list[Tensor]  # [out, in] per layer: frozen from the seed, or trained (and dequantised)
    bits: int | None  # bit-width of trained matrices, 32 in full precision; None where a plan decides
    fingerprint: bytes  # of weights and ladder, 4 bytes


def pack(
    spec: ModelSpec,
    backbone: SASRec,
    encoder: ProfileEncoder | None = None,
    trained: Sequence[Tensor] | None = None,
    bits: int = FULL_PRECISION_BITS,
) -> bytes:
    """Serialise a model for the devices: with `trained` matrices at `bits` bits, or to regenerate the frozen ones."""
    tensors = {f"backbone.{name}": value for name, value in backbone.state_dict().items()}
    if encoder is not None:
        tensors |= {f"encoder.{name}": value for name, value in encoder.state_dict().items()}
    if trained is None:
        weights, announced_bits = spec.frozen_weights(), None
    else:
        matrices, weights = _matrices([weight.detach().cpu() for weight in trained], bits)
        tensors, announced_bits = tensors | matrices, bits
    own = fingerprint(weights, spec.levels, _shared(tensors))
    header = {**spec.to_dict(), "bits": announced_bits, "fingerprint": own.hex()}
    return save_tensors({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, {_SPEC_KEY: json.dumps(header)})


def matrix_bytes(spec: ModelSpec, bits: int) -> int:
    """Bytes of a shipment that hold trained matrices at `bits` bits; biases are shared parameters, as everywhere."""
    sizes = spec.layout.sizes
    if bits == FULL_PRECISION_BITS:
        return 4 * spec.layout.weights
    return int(packed_bytes(np.full((1, len(sizes)), bits), sizes)[0])


def fingerprint_of(shipment: bytes) -> bytes:
    """The fingerprint that a shipment announces, for whoever made it; a device computes its own (`unpack`)."""
    return bytes.fromhex(json.loads(_metadata(shipment)[_SPEC_KEY])["fingerprint"])


def unpack(shipment: bytes, sha256: str) -> Shipped:
    """Rebuild a model from `shipment`, whose SHA-256 the cloud announced.

    Raises WireError naming what is wrong: the hash, the header, a missing, superfluous, misshapen or non-finite
    tensor, or frozen weights that this machine generates differently.
    """
    if len(shipment) > _MAX_BYTES:
        raise WireError(f"shipment: {len(shipment)} bytes, more than the {_MAX_BYTES} allowed")
    found = hashlib.sha256(shipment).hexdigest()
    if found != sha256:
        raise WireError(f"shipment: SHA-256 {found[:12]}, announced {sha256[:12]}")
    try:
        tensors = load_tensors(shipment)
        header = json.loads(_metadata(shipment)[_SPEC_KEY])
        announced, bits = header.pop("fingerprint"), header.pop("bits")
        spec = _spec(header, tensors)
        if bits is not None and (type(bits) is not int or not (1 <= bits <= 8 or bits == FULL_PRECISION_BITS)):
            raise ValueError(f"{bits!r} bits")
    except (safetensors.SafetensorError, AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise WireError(f"shipment: header unreadable ({error})") from error
    parts = _by_part(tensors)
    backbone = spec.build_backbone()
    _load(backbone, parts.pop("backbone", {}), "backbone")
    encoder = None
    if "encoder" in parts:
        encoder = spec.build_encoder()
        _load(encoder, parts.pop("encoder"), "encoder")
    weights = spec.frozen_weights() if bits is None else _trained(spec, parts.pop("weights", {}), bits)
    if parts:
        raise WireError(f"shipment: unknown part {sorted(parts)[0]!r}")
    own = fingerprint(weights, spec.levels, _shared(tensors))
    if own.hex() != announced:
        raise WireError(f"shipment: weights hash to {own.hex()}, announced {announced}")
    return Shipped(spec, backbone.eval(), None if encoder is None else encoder.eval(), weights, bits, own)


def _shared(tensors: Mapping[str, Tensor]) -> list[Tensor]:
    """The shared parameters, in the order of their names."""
    return [tensors[name] for name in sorted(tensors) if not name.startswith("weights.")]


def _metadata(shipment: bytes) -> dict[str, str]:
    # safetensors exposes the metadata of files only; the layout is eight bytes of length, then JSON
    length = int.from_bytes(shipment[:8], "little")
    metadata: dict[str, str] = json.loads(shipment[8 : 8 + length])["__metadata__"]
    return metadata


def _spec(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> ModelSpec:
    """The announced shape, if the tensors have it: nothing is allocated or computed for a shape that they lack."""
    spec = ModelSpec(**{**header, "levels": tuple(header["levels"])})
    whole = (spec.items, spec.blocks, spec.dim, spec.window, spec.history, spec.frozen_seed, *spec.levels)
    if not all(type(number) is int for number in whole) or type(spec.frozen_scale) not in (int, float):
        raise TypeError("a number of the wrong type")
    if spec.backbone != "sasrec" or len(spec.levels) != 4 or not all(1 <= bits <= 8 for bits in spec.levels):
        raise ValueError(f"backbone {spec.backbone!r}, levels {list(spec.levels)}")
    if min(spec.blocks, spec.history) < 1 or not 0 <= spec.frozen_seed < 2**64 or not 0 < spec.frozen_scale < math.inf:
        raise ValueError("a number out of range")
    found = tensors["backbone.items.weight"].shape, tensors["backbone.positions.weight"].shape
    norms = sum(name.startswith("backbone.attention_norms.") for name in tensors)
    if found != ((spec.items + 1, spec.dim), (spec.window, spec.dim)) or norms != 2 * spec.blocks:
        raise ValueError("not the shape that its tensors have")
    return spec


def _by_part(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    parts: dict[str, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        part, _, rest = name.partition(".")
        expected = torch.uint8 if name.endswith((".codes", ".zero_point")) else torch.float32
        if value.dtype != expected:
            raise WireError(f"shipment: {name} is {value.dtype}, expected {expected}")
        if not bool(torch.isfinite(value).all()):
            raise WireError(f"shipment: {name} holds a value that is not finite")
        parts.setdefault(part, {})[rest] = value
    return parts


def _load(module: torch.nn.Module, tensors: Mapping[str, Tensor], part: str) -> None:
    try:
        module.load_state_dict(dict(tensors))
    except RuntimeError as error:
        raise WireError(f"shipment: {part} does not fit ({' '.join(str(error).split())[:200]})") from error


def _matrices(trained: Sequence[Tensor], bits: int) -> tuple[dict[str, Tensor], list[Tensor]]:
    """The tensors that carry `trained` at `bits` bits, and the matrices that a device will make of them."""
    if bits == FULL_PRECISION_BITS:
        return {f"weights.{index}": weight for index, weight in enumerate(trained)}, list(trained)
    tensors, weights = {}, []
    for index, weight in enumerate(trained):
        quantised = quantise(weight, bits)
        packed = pack_codes(quantised.codes.numpy(), np.full(len(weight), bits))
        tensors[f"weights.{index}.codes"] = torch.frombuffer(bytearray(packed), dtype=torch.uint8)
        tensors[f"weights.{index}.scale"] = quantised.scale
        tensors[f"weights.{index}.zero_point"] = quantised.zero_point
        weights.append(dequantise(quantised))
    return tensors, weights


def _trained(spec: ModelSpec, tensors: Mapping[str, Tensor], bits: int) -> list[Tensor]:
    weights = []
    for index, layer in enumerate(spec.layout.layers):
        shape = (layer.channels, layer.size)
        try:
            if bits == FULL_PRECISION_BITS:
                weight = tensors[str(index)]
            else:
                packed, scale, zero_point = (tensors[f"{index}.{part}"] for part in ("codes", "scale", "zero_point"))
                codes = unpack_codes(packed.numpy().tobytes(), np.full(layer.channels, bits), layer.size)
                weight = dequantise(Quantised(torch.from_numpy(codes), scale, zero_point))
        except (KeyError, RuntimeError, ValueError) as error:
            raise WireError(f"shipment: weights of {layer.name} unreadable ({error})") from error
        if tuple(weight.shape) != shape or weight.dtype != torch.float32:
            raise WireError(f"shipment: weights of {layer.name} are {list(weight.shape)}, expected {list(shape)}")
        weights.append(weight)
    return weights
