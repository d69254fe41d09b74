"""The frozen layers of a backbone: their layout, and weights that come from a seed instead of the wire."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from chord_fl.randomness import raw


@dataclass(frozen=True)
class Layer:
    """A frozen layer: `channels` output rows (or filters) of `size` weights each, and a bias per channel."""

    name: str
    channels: int
    size: int


@dataclass(frozen=True)
class Layout:
    """The frozen layers of a backbone in the order in which a plan lists their channels."""

    layers: tuple[Layer, ...]

    @cached_property
    def channels(self) -> int:
        """C: the number of channels, and of biases."""
        return sum(layer.channels for layer in self.layers)

    @cached_property
    def weights(self) -> int:
        """W: the number of frozen weights."""
        return sum(layer.channels * layer.size for layer in self.layers)

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """Weights of each channel, [C] int64."""
        return np.repeat([layer.size for layer in self.layers], self.widths)

    @cached_property
    def widths(self) -> list[int]:
        """Channels of each layer."""
        return [layer.channels for layer in self.layers]

    @cached_property
    def runs(self) -> list[tuple[int, int]]:
        """Consecutive layers of the same width, as (layers, channels of each): what can be computed at once."""
        return [(len(list(run)), width) for width, run in groupby(self.widths)]


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


def fingerprint(weights: Sequence[Tensor], levels: Sequence[int], shared: Sequence[Tensor] = ()) -> bytes:
    """Four bytes that name frozen weights, ladder and shared parameters: a plan made for others is refused by them."""
    digest = hashlib.sha256(bytes(levels))
    for weight in (*weights, *shared):
        digest.update(str(tuple(weight.shape)).encode())
        digest.update(weight.detach().cpu().contiguous().numpy().astype("<f4").tobytes())
    return digest.digest()[:4]
