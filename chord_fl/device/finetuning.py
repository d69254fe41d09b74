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
    model: DeviceModel, history: Tensor, steps: int, learning_rate: float
) -> tuple[list[Tensor], list[Tensor]]:
    """Weights [B, out, in] and biases [B, out] per layer after `steps` of gradient descent on `history` [B, h].

    The loss of a device is its mean next-item cross-entropy over the full catalogue, in windows of the backbone's
    length. A device whose history is a single item has nothing to learn from and keeps the shared weights.
    """
    rows = len(history)
    weights = [weight.expand(rows, -1, -1).clone().requires_grad_() for weight in model.weights]
    biases = [bias.detach().expand(rows, -1).clone().requires_grad_() for bias in model.backbone.biases]
    windows, targets = next_item_windows(history, model.spec.lead, model.spec.span)
    due = (windows[:, model.spec.lead :] > 0) & (targets > 0)
    share = due / due.reshape(rows, -1).sum(1).clamp(min=1).repeat_interleave(len(windows) // rows)[:, None]
    for _ in range(steps):
        logits = model.backbone.score(model.backbone(windows, weights, biases))[..., 1:]
        losses = F.cross_entropy(logits.flatten(0, 1), (targets - 1).clamp(min=0).flatten(), reduction="none")
        gradients = torch.autograd.grad((losses * share.flatten()).sum(), weights + biases)
        with torch.no_grad():
            for parameter, gradient in zip(weights + biases, gradients, strict=True):
                parameter -= learning_rate * gradient
    return [weight.detach() for weight in weights], [bias.detach() for bias in biases]


def next_item_windows(history: Tensor, lead: int, span: int) -> tuple[Tensor, Tensor]:
    """Split `history` [B, h] into windows [B·n, lead + span] and the item after each of their last `span` items.

    [B·n, span]; 0 where there is none. ModelSpec says what `lead` and `span` are.
    """
    inputs, targets = history[:, :-1], history[:, 1:]
    fill = max(span - inputs.shape[1], -inputs.shape[1] % span)
    windows = F.pad(inputs, (fill + lead, 0)).unfold(1, lead + span, span)
    return windows.flatten(0, 1), F.pad(targets, (fill, 0)).reshape(-1, span)
