"""Static, the paper's Base: the cloud's full-precision model, shipped once; or the same at b bits."""

from typing import Any

from chord_fl.cloud.checkpoint import Trained
from chord_fl.config import Config
from chord_fl.models.frozen import Layout
from chord_fl.models.shipment import FULL_PRECISION_BITS, matrix_bytes, pack
from chord_fl.wire.param import full_precision_mbit, quantised_mbit
from strategies.base import DeviceStrategy


class Static(DeviceStrategy):
    """Nobody is asked anything; every device ranks with the same weights."""

    name = "static"
    method = "full"
    action = "static"

    @classmethod
    def bits(cls, config: Config) -> int:
        """The bit-width of the matrices that are shipped."""
        return config.static.bits

    @classmethod
    def pack_shipment(cls, config: Config, trained: Trained) -> bytes:
        """Shared parameters and the trained matrices."""
        model: Any = trained.model
        return pack(model.spec, model.backbone, trained=list(model.weights), bits=cls.bits(config))

    @classmethod
    def matrix_bytes(cls, config: Config, trained: Trained) -> int:
        """Of the shipment, what holds matrices."""
        return matrix_bytes(trained.model.spec, cls.bits(config))

    @classmethod
    def param_mbit(cls, config: Config, layout: Layout) -> float:
        """32·(W + B), or b·W + 32·B at b bits."""
        bits = cls.bits(config)
        return full_precision_mbit(layout) if bits == FULL_PRECISION_BITS else quantised_mbit(layout, bits)
