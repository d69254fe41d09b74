"""Local training in federated learning: every device trains a copy of the global weights, and a cohort replies as one.

The reply of a cohort is the mean of its devices' weights by their number of examples. A weighted average over such
replies is the weighted average over the devices, up to rounding; of one device the mean is that device, bit for bit.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from chord_fl.blocks import BLOCK, in_blocks
from chord_fl.device.finetuning import Layers, examples, finetune, losses
from chord_fl.device.model import DeviceModel


@dataclass(frozen=True)
class Update:
    """What some devices learned together."""

    weights: list[NDArray[np.float32]]  # [out, in] per layer
    biases: list[NDArray[np.float32]]  # [out] per layer
    examples: int  # what the mean is over
    loss: float  # under the global weights, mean over examples
    finite: NDArray[np.bool_]  # [B]: whose training did not diverge; the others are in none of these figures


def mean_update(
    model: DeviceModel, history: Tensor, start: Layers, steps: int, learning_rate: float, proximal_mu: float
) -> Update:
    """Train on `history` [B, h] from the global weights `start`, and average; see `finetuning.finetune`.

    With no examples at all the weights are zeros, and mean nothing.
    """
    sizes = [part.numel() for part in (*start[0], *start[1])]
    total = np.zeros(sum(sizes) + 1)  # in double precision: what devices learn is small beside the weights
    count, finite = 0, [np.zeros(0, dtype=bool)]

    def learn(rows: Tensor) -> Tensor:
        weights, biases = finetune(model, rows, steps, learning_rate, start, proximal_mu)
        with torch.no_grad():
            before = losses(model, rows, *start)
        return torch.cat([*(part.flatten(1) for part in (*weights, *biases)), before[:, None]], dim=1)

    for first in range(0, len(history), BLOCK):  # a block at a time: every device has weights of its own
        rows = history[first : first + BLOCK]
        learned, due = in_blocks(learn, rows).numpy(), examples(model, rows).numpy()
        good = np.isfinite(learned).all(axis=1)
        total += due[good].astype(np.float64) @ learned[good].astype(np.float64)
        count += int(due[good].sum())
        finite.append(good)
    mean = total / max(count, 1)
    parts = np.split(mean[:-1].astype(np.float32), np.cumsum(sizes)[:-1])
    shaped = [part.reshape(like.shape) for part, like in zip(parts, (*start[0], *start[1]), strict=True)]
    layers = len(start[0])
    return Update(shaped[:layers], shaped[layers:], count, float(mean[-1]), np.concatenate(finite))
