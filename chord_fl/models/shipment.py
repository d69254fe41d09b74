"""What the cloud ships to a device once: shared parameters as safetensors, frozen weights as a seed and their hash.

The full-precision model of the baselines ships the same way, its trained matrices among the tensors.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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

_MAX_BYTES = 2**31
_SPEC_KEY = "chord-fl spec"


@dataclass(frozen=True)
class Shipped:
    """A model as a device holds it after unpacking: ready to rank, in evaluation mode."""

    spec: ModelSpec
    backbone: SASRec
    encoder: ProfileEncoder | None  # None where nothing is personalised by a profile
    weights: list[Tensor]  # [out, in] per layer: frozen from the seed, or trained
    fingerprint: bytes  # of weights and ladder, 4 bytes


def pack(
    spec: ModelSpec, backbone: SASRec, encoder: ProfileEncoder | None = None, trained: Sequence[Tensor] | None = None
) -> bytes:
    """Serialise a model for the devices. Without `trained` matrices the device regenerates the frozen ones."""
    tensors = {f"backbone.{name}": value for name, value in backbone.state_dict().items()}
    if encoder is not None:
        tensors |= {f"encoder.{name}": value for name, value in encoder.state_dict().items()}
    if trained is not None:
        tensors |= {f"weights.{index}": value.detach() for index, value in enumerate(trained)}
    weights = spec.frozen_weights() if trained is None else trained
    header = {**spec.to_dict(), "fingerprint": fingerprint(weights, spec.levels).hex()}
    return save_tensors({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, {_SPEC_KEY: json.dumps(header)})


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
        announced = header.pop("fingerprint")
        spec = ModelSpec(**{**header, "levels": tuple(header["levels"])})
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise WireError(f"shipment: header unreadable ({error})") from error
    parts = _by_part(tensors)
    backbone = spec.build_backbone()
    _load(backbone, parts.pop("backbone", {}), "backbone")
    encoder = None
    if "encoder" in parts:
        encoder = spec.build_encoder()
        _load(encoder, parts.pop("encoder"), "encoder")
    weights = _trained(spec, parts.pop("weights")) if "weights" in parts else spec.frozen_weights()
    if parts:
        raise WireError(f"shipment: unknown part {sorted(parts)[0]!r}")
    own = fingerprint(weights, spec.levels)
    if own.hex() != announced:
        raise WireError(f"shipment: weights hash to {own.hex()}, announced {announced}")
    return Shipped(spec, backbone.eval(), None if encoder is None else encoder.eval(), weights, own)


def _metadata(shipment: bytes) -> dict[str, str]:
    # safetensors exposes the metadata of files only; the layout is eight bytes of length, then JSON
    length = int.from_bytes(shipment[:8], "little")
    metadata: dict[str, str] = json.loads(shipment[8 : 8 + length])["__metadata__"]
    return metadata


def _by_part(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    parts: dict[str, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        part, _, rest = name.partition(".")
        if not bool(torch.isfinite(value).all()):
            raise WireError(f"shipment: {name} holds a value that is not finite")
        parts.setdefault(part, {})[rest] = value
    return parts


def _load(module: torch.nn.Module, tensors: Mapping[str, Tensor], part: str) -> None:
    try:
        module.load_state_dict(dict(tensors))
    except RuntimeError as error:
        raise WireError(f"shipment: {part} does not fit ({' '.join(str(error).split())[:200]})") from error


def _trained(spec: ModelSpec, tensors: Mapping[str, Tensor]) -> list[Tensor]:
    expected = {str(index): (layer.channels, layer.size) for index, layer in enumerate(spec.layout.layers)}
    found = {name: tuple(value.shape) for name, value in tensors.items()}
    if found != expected:
        raise WireError(f"shipment: weights do not fit the layout of {len(expected)} layers")
    return [tensors[str(index)] for index in range(len(expected))]
