"""Popular: every device ranks items by how often they occur in the training interactions. Nothing is learned."""

from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from chord_fl.cloud.checkpoint import Trained
from chord_fl.cloud.counting import Rules, fit
from chord_fl.config import Config
from chord_fl.data.interactions import Interactions
from chord_fl.models.counts import fingerprint_of, pack
from chord_fl.models.layouts import Layout
from strategies.base import DeviceStrategy


class Popular(DeviceStrategy):
    """Nobody is asked anything; the table of counts is shipped once, where Static ships its matrices."""

    method = "counts"
    learns = False
    greeting = "counts"
    action = "count"
    rules: ClassVar[Rules | None] = None  # of co-visitation; None for popularity alone

    @classmethod
    def fit(cls, config: Config, interactions: Interactions, items: int) -> Trained:
        """Count what precedes the validation item of each user."""
        return fit(config, interactions, items, cls.rules)

    @classmethod
    def pack_shipment(cls, config: Config, trained: Trained) -> bytes:
        """The table."""
        model: Any = trained.model
        return pack(model.table)

    @classmethod
    def matrix_bytes(cls, config: Config, trained: Trained) -> int:
        """The whole table: it is what the training interactions decide, as they decide matrices elsewhere."""
        model: Any = trained.model
        return int(model.table.nbytes)

    @classmethod
    def param_mbit(cls, config: Config, layout: Layout) -> float:
        """NaN: the paper has no Param for this."""
        return float("nan")

    @cached_property
    def fingerprint(self) -> bytes:
        """Of the table: what candidates are marked with."""
        return fingerprint_of(self.shipment.sha256)

    @property
    def embeddings(self) -> NDArray[np.float32]:
        """[items + 1, 0]: a device that holds the table needs a candidate's id alone."""
        return np.zeros((self.trained.model.spec.items + 1, 0), dtype=np.float32)
