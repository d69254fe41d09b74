"""Quant, a baseline of the paper: 3 bits everywhere; see chord_fl/baselines/quant.py."""

from chord_fl.baselines.quant import BITS
from chord_fl.config import Config
from strategies.static import Static


class Quant(Static):
    """As Static, with matrices that were trained in their codes."""

    name = "quant"
    method = "quant"

    @classmethod
    def bits(cls, config: Config) -> int:
        """3, whatever `static.bits` says."""
        return BITS
