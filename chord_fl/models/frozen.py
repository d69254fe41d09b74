"""The frozen layers of a backbone: their layout, and weights that come from a seed instead of the wire."""

import hashlib
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from chord_fl.models.layouts import Layout
from chord_fl.randomness import raw

VECTOR = 251  # length of the repeated vector; prime, so that no two rows of a layer repeat it from the same place
KEPT = 0.5  # share of the repeated weights that a mask keeps


def frozen_weights(layout: Layout, seed: int, scale: float) -> list[Tensor]:
    """Weights [out, in] float32 of every layer: uniform in ±`scale`·sqrt(6 / (in + out)) (Xavier's range).

    The same bits on every machine: 24-bit integers of a counter-based generator, times one float32 constant.
    """
    weights = []
    for index, layer in enumerate(layout.layers):
        words = raw(seed, f"frozen weights {index}", 0, layer.channels, layer.size)
        centred = 2 * (words >> np.uint64(40)).astype(np.int64) + 1 - 2**24  # odd, within ±(2^24 - 1): exact in float32
        bound = scale * math.sqrt(6.0 / (layer.size + layer.channels))
        weights.append(torch.from_numpy(centred.astype(np.float32) * np.float32(bound * 2.0**-24)))
    return weights


def repeated_weights(layout: Layout, seed: int, scale: float) -> list[Tensor]:
    """Weights [out, in] float32 of every layer, filled by repeating one random vector of length `VECTOR`.

    Uniform in Xavier's range, times `scale`, times sqrt(1 / KEPT): as much variance after masking as before (PEMN's
    random weights padding, with the rescaling of Ramanujan et al., 2020). The same bits on every machine.
    """
    words = raw(seed, "repeated weights", 0, 1, VECTOR)[0]
    centred = (2 * (words >> np.uint64(40)).astype(np.int64) + 1 - 2**24).astype(np.float32)  # as in `frozen_weights`
    weights = []
    for layer in layout.layers:
        bound = scale * math.sqrt(6.0 / (layer.size + layer.channels) / KEPT)
        filled = np.resize(centred * np.float32(bound * 2.0**-24), (layer.channels, layer.size))
        weights.append(torch.from_numpy(filled))
    return weights


def fingerprint(weights: Sequence[Tensor], levels: Sequence[int], shared: Sequence[Tensor] = ()) -> bytes:
    """Four bytes that name frozen weights, ladder and shared parameters: a plan made for others is refused by them."""
    digest = hashlib.sha256(bytes(levels))
    for weight in (*weights, *shared):
        digest.update(str(tuple(weight.shape)).encode())
        digest.update(weight.detach().cpu().contiguous().numpy().astype("<f4").tobytes())
    return digest.digest()[:4]
