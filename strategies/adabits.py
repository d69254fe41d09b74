"""AdaBits, a baseline of the paper: weights shared by 2, 3 and 4 bits, at 3; see chord_fl/baselines/adabits.py."""

from chord_fl.baselines.adabits import BITS
from chord_fl.config import Config
from strategies.static import Static


class AdaBits(Static):
    """As Static, with matrices that were trained in their codes."""

    name = "adabits"
    method = "adabits"

    @classmethod
    def bits(cls, config: Config) -> int:
        """3, whatever `static.bits` says."""
        return BITS
