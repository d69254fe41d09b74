"""How many operations a device spends: arithmetic counted from the layout, an addition and a multiplication as two.

Counted are the products that the model is made of, as they are computed here, padding included; norms, softmax and
activations are left out (tests hold the counts against those that torch makes of the same model).
"""

from chord_fl.models.counts import CountTable
from chord_fl.models.layouts import Layout
from chord_fl.models.spec import ModelSpec

# Assumptions. Unpacking: a shift and mask, and scale and zero point, as an addition and a multiplication.
UNPACK_PER_WEIGHT = 4
# T and the quantiser: scale, zero point, rounding, clipping for each weight; three steps of the order for each channel.
ADAPT_PER_WEIGHT, ADAPT_PER_CHANNEL = 4, 3
BACKWARD = 2  # times the operations forward: a gradient for inputs and one for weights


def ranking(spec: ModelSpec, candidates: int = 0) -> int:
    """One ranking of `candidates`, 0 for the full catalogue."""
    return spec.operations(spec.window) + 2 * spec.dim * (candidates or spec.items)


def profile(spec: ModelSpec) -> int:
    """One profile: a GRU has three gates, each with a matrix for the input and one for the state."""
    return spec.history * 2 * 2 * 3 * spec.dim**2


def adaptation(layout: Layout) -> int:
    """Fit a plan and quantise the weights by it."""
    return ADAPT_PER_WEIGHT * layout.weights + ADAPT_PER_CHANNEL * layout.channels


def unpacking(layout: Layout) -> int:
    """Packed weights made ready for one ranking."""
    return UNPACK_PER_WEIGHT * layout.weights


def finetuning(spec: ModelSpec, steps: int) -> int:
    """`steps` of gradient descent on a history, each position of which is scored against the catalogue."""
    windows = -(-max(spec.history - 1, 1) // spec.span)
    forward = windows * (spec.operations(spec.lead + spec.span) + 2 * spec.span * spec.dim * spec.items)
    return steps * (1 + BACKWARD) * forward


def counting(table: CountTable) -> int:
    """One ranking by counts: a weighted sum over the neighbours of the recent items, and popularity for every item."""
    return 2 * len(table.recency) * int(table.neighbours.shape[1]) + 2 * table.items
