"""PEMN, a baseline of the paper: masks over random weights that devices regenerate; see chord_fl/baselines/pemn.py."""

from chord_fl.baselines.pemn import BITS
from chord_fl.config import Config
from chord_fl.models.layouts import Layout
from chord_fl.wire.param import masked_mbit
from strategies.static import Static


class PEMN(Static):
    """As Static, with masks in place of matrices."""

    name = "pemn"
    method = "pemn"

    @classmethod
    def bits(cls, config: Config) -> int:
        """1, whatever `static.bits` says."""
        return BITS

    @classmethod
    def param_mbit(cls, config: Config, layout: Layout) -> float:
        """2·W + 32·B, as the paper books it, though a mask takes one bit per weight."""
        return masked_mbit(layout)
