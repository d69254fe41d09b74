"""R of eq. 4: the memory, compute, bandwidth and battery of simulated phones, drawn per device and round.

Facts: 333 phones of a public AI benchmark list and 19 measured network profiles (data of the FLASH study, BSD-2).
What those do not say is an assumption, and marked as one below.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chord_fl.randomness import normal, uniform

# RAM in GB, share of phones, median CPU float score. Assumptions: the 5 % of phones outside the seven named classes are
# 1 % of 0.5 GB and 4 % of 10 GB; their scores continue the trend of the classes beside them.
_RAM = np.array([0.5, 1, 2, 3, 4, 6, 8, 10, 12])
_SHARE = np.array([0.01, 0.14, 0.05, 0.04, 0.29, 0.23, 0.17, 0.04, 0.03])
_MEDIAN_SCORE = np.array([191, 278, 404, 752, 1503, 2016, 2769, 3300, 3943])
_SCORE_SPREAD = 0.44  # log s.d. within a class; with the spread of the medians 0.93 over all phones, as observed

_DOWNLINK = (8.55, 0.48)  # mean and s.d. of log(kB/s) over devices
_UPLINK = (8.04, 0.70)
_LINK_VARIATION = math.sqrt(math.log(1 + 0.38**2))  # log s.d. of a factor of mean 1 and s.d. 0.38, within a device

# Assumptions: the recommender's slot grows with RAM and holds the full-precision weights on a phone of 8 GB; between
# 75 % and all of it is free at any moment. A phone of 1 GB so has 9 % to 12.5 % of full precision.
_FULL_PRECISION_RAM = 8.0
_LEAST_FREE = 0.75

# Assumption: a phone with the median score of the 3 GB class affords 8 bits per weight, others in proportion, all 2.
_EIGHT_BIT_SCORE = 752.0
_LEAST_BITS = 2.0

_LEAST_BATTERY = 0.05  # assumption: uniform from here to 1, drawn anew each round


@dataclass(frozen=True)
class Resources:
    """What B devices have to spare now; one entry per device, [B]."""

    memory_bytes: NDArray[np.int64]  # for the frozen weights
    compute: NDArray[np.float64]  # weight-bits that an inference may read: affordable average bits × W
    downlink: NDArray[np.float64]  # bytes per second
    uplink: NDArray[np.float64]  # bytes per second
    battery: NDArray[np.float64]  # 0..1


def draw(seed: int, round: int, first: int, count: int, layout_full_bytes: int, layout_weights: int) -> Resources:
    """Resources of devices `first .. first + count - 1` in `round`; a device's do not depend on who is drawn with it.

    `layout_full_bytes` is the size of the frozen weights in full precision, 4·W; `layout_weights` is W.
    """
    # what a device is: the same in every round
    rank = uniform(seed, "device class", first, count, 1)[:, 0]
    phone = np.searchsorted(np.cumsum(_SHARE)[:-1], rank)
    traits = normal(seed, "device traits", first, count, 3)
    score = _MEDIAN_SCORE[phone] * np.exp(_SCORE_SPREAD * traits[:, 0])
    downlink, uplink = _usual_speed(_DOWNLINK, traits[:, 1]), _usual_speed(_UPLINK, traits[:, 2])
    # what it is doing now
    moment = uniform(seed, f"device moment {round}", first, count, 2)
    links = normal(seed, f"device links {round}", first, count, 2)
    speed = np.exp(_LINK_VARIATION * links - _LINK_VARIATION**2 / 2)
    free = _LEAST_FREE + (1 - _LEAST_FREE) * moment[:, 0]
    return Resources(
        memory_bytes=(layout_full_bytes * _RAM[phone] / _FULL_PRECISION_RAM * free).astype(np.int64),
        compute=np.maximum(8 * score / _EIGHT_BIT_SCORE, _LEAST_BITS) * layout_weights,
        downlink=downlink * speed[:, 0],
        uplink=uplink * speed[:, 1],
        battery=_LEAST_BATTERY + (1 - _LEAST_BATTERY) * moment[:, 1],
    )


def _usual_speed(link: tuple[float, float], trait: NDArray[np.float64]) -> NDArray[np.float64]:
    mean, spread = link
    return 1000 * np.exp(mean + spread * trait)
