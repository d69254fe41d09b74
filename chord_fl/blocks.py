"""Batches of devices in blocks of one fixed size, so that a device computes the same bits alone and in any cohort.

A matrix product rounds differently for different shapes: a profile computed for one device and for 500 at once can
differ in the last bit, and a rank or a plan with it. With one shape for all, neither the company of a device nor its
place in the block shows in its result.
"""

from collections.abc import Callable

import torch
from torch import Tensor

BLOCK = 64  # the weights of 64 devices fit the processor's cache layer by layer; twice as fast as 512


def computed(devices: int) -> int:
    """Rows that `in_blocks` computes for so many devices: what the time it takes is shared by."""
    return max(1, -(-devices // BLOCK)) * BLOCK


def in_blocks(function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """`function` of every block of BLOCK rows of `inputs` [B, ...], its results [BLOCK, ...] put together to [B, ...].

    The last block is filled up with zeros, whose results are dropped.
    """
    results = []
    for start in range(0, len(inputs[0]), BLOCK):
        rows = [part[start : start + BLOCK] for part in inputs]
        real = len(rows[0])
        if real < BLOCK:
            rows = [torch.cat([part, part.new_zeros(BLOCK - real, *part.shape[1:])]) for part in rows]
        results.append(function(*rows)[:real])
    return torch.cat(results) if results else function(*(part.new_zeros(BLOCK, *part.shape[1:]) for part in inputs))[:0]
