"""What every baseline must do, on both backbones."""

import hashlib
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from chord_fl.baselines import BASELINES
from chord_fl.baselines.base import Baseline
from chord_fl.errors import ChordError
from chord_fl.imports import imported
from chord_fl.models.matrices import average_bits
from chord_fl.models.shipment import pack, unpack
from chord_fl.models.spec import ModelSpec

SPECS = {
    "sasrec": ModelSpec("sasrec", 30, 2, 8, 5, 9, (2, 4, 6, 8), 5, 1.0),
    "caser": ModelSpec("caser", 30, 1, 8, 5, 9, (2, 4, 6, 8), 5, 1.0),
}
SHOULD = {"pemn": 1.0, "quant": 3.0, "adabits": 3.0, "rfquant": 3.0, "mbquant": 3.0}

both = pytest.mark.parametrize("backbone", SPECS)
every = pytest.mark.parametrize("name", BASELINES)


def fresh(name: str, backbone: str = "sasrec", dropout: float = 0.0) -> Baseline:
    torch.manual_seed(0)
    return imported(BASELINES[name])(SPECS[backbone], dropout)


def sequences() -> Tensor:
    """Items that follow a rule, so that there is something to learn."""
    starts = torch.arange(1, 25)[:, None]
    return (starts + 3 * torch.arange(7)) % 30 + 1


def steps(model: Baseline, optimiser: torch.optim.Optimizer, count: int) -> list[float]:
    """Losses of `count` training steps, as the cloud takes them."""
    losses = []
    items = sequences()
    targets = items[:, 1:][:, model.spec.lead :]
    model.train()
    for _ in range(count):
        windows = items[:, :-1] if model.spec.backbone == "caser" else items[:, :5]
        due = targets[:, : windows.shape[1] - model.spec.lead]
        passes = getattr(model, "training_passes", lambda *inputs: [model(*inputs)])(windows, windows)
        each = [F.cross_entropy(model.backbone.score(states).flatten(0, 1), due.flatten()) for states in passes]
        loss = torch.stack(each).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


def trained(name: str, backbone: str = "sasrec", epochs: int = 4) -> tuple[Baseline, list[float]]:
    model = fresh(name, backbone)
    optimiser = torch.optim.Adam(model.parameters(), 0.01)
    losses = []
    for epoch in range(1, epochs + 1):
        getattr(model, "begin_epoch", lambda *numbers: None)(epoch, epochs)
        losses += steps(model, optimiser, 10)
    return model.eval(), losses


@both
@every
def test_training_lowers_the_loss_and_reaches_every_parameter(name: str, backbone: str) -> None:
    model, losses = trained(name, backbone)
    assert losses[-1] < 0.7 * losses[0]
    for parameter, value in model.named_parameters():
        if not parameter.startswith("backbone.biases"):  # one bias of attention cancels
            assert value.grad is not None and value.grad.abs().sum() > 0, parameter


@both
@every
def test_a_device_computes_what_training_computed(name: str, backbone: str) -> None:
    """Packed codes or masks, through a shipment, to the bit."""
    model, _ = trained(name, backbone)
    payload = pack(model.spec, model.backbone, matrices=model.matrices())
    shipped = unpack(payload, hashlib.sha256(payload).hexdigest())
    for one, other in zip(shipped.weights, model.deployed(), strict=True):
        assert torch.equal(one, other)
    windows = sequences()[:, :5]
    with torch.no_grad():
        assert torch.equal(shipped.backbone(windows, shipped.weights), model(windows, windows))


@both
@every
def test_average_bits_are_at_most_what_the_table_says(name: str, backbone: str) -> None:
    found = average_bits(trained(name, backbone)[0].matrices())
    assert SHOULD[name] - 0.4 < found <= SHOULD[name]
    if backbone == "sasrec" or name not in ("rfquant", "mbquant"):
        assert found == SHOULD[name]


@every
def test_training_repeats_itself_to_the_bit(name: str) -> None:
    one, other = trained(name)[0].state_dict(), trained(name)[0].state_dict()
    assert all(torch.equal(value, other[key]) for key, value in one.items())


@both
@every
def test_nothing_that_is_shipped_hangs_on_a_gradient(name: str, backbone: str) -> None:
    for matrix in fresh(name, backbone).matrices():
        parts = [part for branch in matrix.branches for part in branch] if hasattr(matrix, "branches") else [*matrix]
        assert all(isinstance(part, Tensor) and not part.requires_grad for part in parts)


@pytest.mark.parametrize("name", ["quant", "rfquant", "mbquant"])
def test_weights_that_are_no_longer_finite_are_an_error_of_one_line(name: str) -> None:
    model = fresh(name)
    with torch.no_grad():
        next(parameter for key, parameter in model.named_parameters() if "backbone" not in key).fill_(float("nan"))
    windows = sequences()[:, :5]
    with pytest.raises(ChordError, match="lower train.learning_rate"):
        model(windows, windows)


@every
def test_the_docs_list_it(name: str) -> None:
    text = (Path(__file__).parents[2] / "docs" / "baselines.md").read_text(encoding="utf-8")
    assert f"`{name}`" in text
