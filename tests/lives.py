"""Runs of several sessions: what tests of them share. The fixtures `life` and `run` make them."""

from collections.abc import Callable

import pandas as pd

from chord_fl.config import Config
from tests.inprocess import Finished

SESSIONS = 4
LONG = 12  # sessions for which some users have done too little: the shortest have 12 items
HEADER, PROFILE, PLAN = 16, 16 + 2 * 16, 16 + 5 * 16 // 4  # bytes of messages

Make = Callable[..., Config]
Run = Callable[..., Finished]


def of(finished: Finished, number: int) -> pd.DataFrame:
    """The rows of a session, by device."""
    return finished.devices[finished.devices["round"] == number].set_index("device")


def results(finished: Finished) -> pd.DataFrame:
    """What a device got out of a session, whatever it asked for."""
    return finished.devices[["round", "device", "average_bits", "memory_bytes", "rank", "rank_stranger", "error"]]
