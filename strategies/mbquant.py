"""MBQuant, a baseline of the paper: branches of 2 bits, 3 bits on average; see chord_fl/baselines/mbquant.py."""

from chord_fl.baselines.mbquant import BITS
from chord_fl.config import Config
from strategies.static import Static


class MBQuant(Static):
    """As Static, with matrices that were trained in their codes."""

    name = "mbquant"
    method = "mbquant"

    @classmethod
    def bits(cls, config: Config) -> int:
        """3, whatever `static.bits` says."""
        return BITS
