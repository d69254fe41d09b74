"""What the plans of a round look like, whoever they are of: the bits of every channel, counted over devices.

The table has as many rows as there are channels and widths, however many devices there are.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from chord_fl.models.layouts import Layout

COLUMNS = ("layer", "channel", "bits", "devices", "devices_highest")


def count_bits(codes: NDArray[np.uint8], layout: Layout, levels: tuple[int, ...]) -> pd.DataFrame:
    """A row per channel and width of `levels`, for the plans `codes` [N, C]: COLUMNS, in the order of the layout.

    `channel` counts within its layer, and `devices` those whose plan gives it so many bits. `devices_highest` is the
    same in all rows of a layer: the devices whose plan gives that layer more bits on average than any other.
    """
    widths = layout.widths
    counts = np.stack([(codes == code).sum(0) for code in range(len(levels))], axis=1)  # [C, levels]
    # a layer at a time: all plans as bits at once would be many times the codes
    bits, ends = np.array(levels, dtype=np.uint8), np.cumsum(widths)
    means = np.stack([bits[codes[:, end - width : end]].mean(1) for end, width in zip(ends, widths, strict=True)], 1)
    order = np.sort(means, axis=1)
    alone = order[:, -1] > order[:, -2] if means.shape[1] > 1 else np.ones(len(means), dtype=bool)
    highest = np.bincount(means[alone].argmax(1), minlength=len(widths))
    return pd.DataFrame(
        {
            "layer": np.repeat([layer.name for layer in layout.layers], np.multiply(widths, len(levels))),
            "channel": np.repeat(np.concatenate([np.arange(width) for width in widths]), len(levels)),
            "bits": np.tile(levels, layout.channels),
            "devices": counts.ravel(),
            "devices_highest": np.repeat(highest, np.multiply(widths, len(levels))),
        }
    )
