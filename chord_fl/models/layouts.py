"""What is frozen in a backbone, in numbers: its layers in the order in which a plan lists their channels.

Without torch, so that a table from arithmetic alone is there at once.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

SASREC_PARTS = ("query", "key", "value", "inner", "outer")  # of a block
CASER_HEIGHTS, CASER_FILTERS, CASER_VERTICAL = (1, 2, 3, 4, 5), 16, 4


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


def sasrec(blocks: int, dim: int) -> Layout:
    """Five d×d layers per block; 4 blocks of 64 give the 83,200 weights and biases of the paper's Table 2."""
    return Layout(tuple(Layer(f"block{block}.{part}", dim, dim) for block in range(blocks) for part in SASREC_PARTS))


def caser(window: int, dim: int) -> Layout:
    """Layers of 16 horizontal filters, as many as fit into the window, and one of 4 vertical filters.

    A window of 20 with 64 dimensions gives the 15,524 weights and biases in 84 channels of the paper's Table 2.
    """
    heights = [height for height in CASER_HEIGHTS if height <= window]
    horizontal = [Layer(f"horizontal{height}", CASER_FILTERS, height * dim) for height in heights]
    return Layout((*horizontal, Layer("vertical", CASER_VERTICAL, window)))
