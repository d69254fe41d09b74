"""On-device fine-tuning, the paper's Finetune: every device trains its own copy of the matrices on its own history.

All devices of a block train at once, each with weights of its own: a matrix per device in every layer, and a loss that
is a sum over devices, so that no gradient passes from one to another.
"""

import time

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from chord_fl.blocks import in_blocks
from chord_fl.device.model import DeviceModel
from chord_fl.device.ranking import Candidates, Local, extras, ranked

Layers = tuple[list[Tensor], list[Tensor]]  # weights and biases per layer


def ranks_after_finetuning(
    model: DeviceModel, devices: Local, steps: int, learning_rate: float, candidates: Candidates | None = None
) -> tuple[NDArray[np.int64], float]:
    """Rank of each device's target after `steps` of gradient descent on its history, and the seconds spent training.

    Trained are the matrices and biases that the paper's Param counts (W + B); embeddings and norms stay shared.
    Nothing of it is kept afterwards: the next round begins from the shipped model.
    """
    spent = 0.0

    def rank(history: Tensor, windows: Tensor, targets: Tensor, *rest: Tensor) -> Tensor:
        nonlocal spent
        started = time.perf_counter()
        weights, biases = finetune(model, history, steps, learning_rate)
        spent += time.perf_counter() - started
        with torch.inference_mode():
            states = model.backbone(windows, weights, biases)[:, -1]
            return ranked(model, states, targets, devices, rest)

    inputs = (devices.history, devices.windows, devices.targets, *extras(devices, candidates))
    return in_blocks(rank, *inputs).numpy(), spent


def finetune(
    model: DeviceModel,
    history: Tensor,
    steps: int,
    learning_rate: float,
    start: Layers | None = None,
    proximal_mu: float = 0.0,
) -> tuple[list[Tensor], list[Tensor]]:
    """Weights [B, out, in] and biases [B, out] per layer after `steps` of gradient descent on `history` [B, h].

    The loss is `losses`, plus `proximal_mu` / 2 times the squared distance from the start (FedProx, arXiv 1812.06127).
    The start is the shipped model, or `start`. A device whose history is a single item has nothing to learn from and
    keeps it.
    """
    rows = len(history)
    first_weights, first_biases = start or shipped(model)
    origin = [weight.detach().expand(rows, -1, -1) for weight in first_weights]
    origin += [bias.detach().expand(rows, -1) for bias in first_biases]
    parameters = [part.clone().requires_grad_() for part in origin]
    for _ in range(steps):
        own = losses(model, history, parameters[: len(first_weights)], parameters[len(first_weights) :])
        gradients = torch.autograd.grad(own.sum(), parameters)
        with torch.no_grad():
            for parameter, gradient, begun in zip(parameters, gradients, origin, strict=True):
                # without mu nothing is added: what fine-tunes without a proximal term keeps its bits
                pull = proximal_mu * (parameter - begun) if proximal_mu else 0.0
                parameter -= learning_rate * (gradient + pull)
    tuned = [parameter.detach() for parameter in parameters]
    return tuned[: len(first_weights)], tuned[len(first_weights) :]


def losses(model: DeviceModel, history: Tensor, weights: list[Tensor], biases: list[Tensor]) -> Tensor:
    """The loss of each device [B] under weights [B, out, in] and biases [B, out] per layer, or shared ones without B.

    Mean next-item cross-entropy over the full catalogue, in windows of the backbone's length, on `history` [B, h]; 0
    for a history of a single item.
    """
    windows, targets, due = _examples(model, history)
    share = due / due.reshape(len(history), -1).sum(1).clamp(min=1).repeat_interleave(len(due) // len(history))[:, None]
    logits = model.backbone.score(model.backbone(windows, weights, biases))[..., 1:]
    found = F.cross_entropy(logits.flatten(0, 1), (targets - 1).clamp(min=0).flatten(), reduction="none")
    return (found * share.flatten()).reshape(len(history), -1).sum(1)


def examples(model: DeviceModel, history: Tensor) -> Tensor:
    """How many items of its `history` [B, h] each device learns to predict, [B] int64: all but the first."""
    return _examples(model, history)[2].reshape(len(history), -1).sum(1)


def shipped(model: DeviceModel) -> Layers:
    """The weights [out, in] and biases [out] per layer that came with the shipment."""
    return model.weights, list(model.backbone.biases)


def _examples(model: DeviceModel, history: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Windows, their targets, and which of these there are."""
    windows, targets = next_item_windows(history, model.spec.lead, model.spec.span)
    return windows, targets, (windows[:, model.spec.lead :] > 0) & (targets > 0)


def next_item_windows(history: Tensor, lead: int, span: int) -> tuple[Tensor, Tensor]:
    """Split `history` [B, h] into windows [B·n, lead + span] and the item after each of their last `span` items.

    [B·n, span]; 0 where there is none. ModelSpec says what `lead` and `span` are.
    """
    inputs, targets = history[:, :-1], history[:, 1:]
    fill = max(span - inputs.shape[1], -inputs.shape[1] % span)
    windows = F.pad(inputs, (fill + lead, 0)).unfold(1, lead + span, span)
    return windows.flatten(0, 1), F.pad(targets, (fill, 0)).reshape(-1, span)
