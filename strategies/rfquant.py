"""RFQuant, a baseline of the paper: a bit-width per layer, 3 on average; see chord_fl/baselines/rfquant.py."""

from chord_fl.baselines.rfquant import BITS
from chord_fl.config import Config
from strategies.static import Static


class RFQuant(Static):
    """As Static, with matrices that were trained in their codes."""

    name = "rfquant"
    method = "rfquant"

    @classmethod
    def bits(cls, config: Config) -> int:
        """3, whatever `static.bits` says."""
        return BITS
