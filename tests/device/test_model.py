import hashlib

import pytest
import torch

from chord_fl.device.model import unpack
from chord_fl.errors import WireError
from chord_fl.models.shipment import pack
from chord_fl.models.spec import ModelSpec
from chord_fl.quantization.affine import fake_quantise

SPEC = ModelSpec("sasrec", 12, 1, 4, 3, 5, (2, 5, 6, 7), 7, 1.5)


def shipment() -> bytes:
    torch.manual_seed(0)
    return pack(SPEC, SPEC.build_backbone(), SPEC.build_encoder())


def test_a_device_derives_its_copies_and_its_order_from_the_seed() -> None:
    payload = shipment()
    model = unpack(payload, hashlib.sha256(payload).hexdigest())
    assert model.layout == SPEC.layout and model.average_bits is None
    for copies, weight in zip(model.bank, SPEC.frozen_weights(), strict=True):
        assert torch.equal(copies, torch.stack([fake_quantise(weight, bits) for bits in (2, 5, 6, 7)]))
    assert model.demotions.levels.tolist() == [2, 5, 6, 7] and model.demotions.sizes.tolist() == [4] * 20
    assert model.bank is model.bank and model.demotions is model.demotions  # once


def test_nothing_that_was_shipped_is_trained() -> None:
    payload = shipment()
    model = unpack(payload, hashlib.sha256(payload).hexdigest())
    assert model.encoder is not None
    for module in (model.backbone, model.encoder):
        assert not module.training and not any(parameter.requires_grad for parameter in module.parameters())


def test_a_wrong_hash_is_refused() -> None:
    with pytest.raises(WireError, match="SHA-256"):
        unpack(shipment(), "0" * 64)
