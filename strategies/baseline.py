"""The paper's compression baselines: Static, with matrices that were trained in the form in which they ship."""

from functools import cache

from chord_fl.baselines import BASELINES
from chord_fl.config import Config
from chord_fl.imports import imported
from chord_fl.models.layouts import Layout
from strategies.static import Static


class Baseline(Static):
    """As Static; `of` makes the strategy of each baseline."""

    @classmethod
    def bits(cls, config: Config) -> int:
        """The baseline's own, whatever `static.bits` says."""
        return int(imported(BASELINES[cls.method]).bits)

    @classmethod
    def param_mbit(cls, config: Config, layout: Layout) -> float:
        """As the paper books the baseline."""
        return float(imported(BASELINES[cls.method]).param_mbit(layout))


@cache
def of(name: str) -> type[Baseline]:
    """The strategy of the baseline `name`, whose checkpoint it needs."""
    return type(name, (Baseline,), {"method": name})
