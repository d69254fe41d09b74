"""Static, the paper's Base: the cloud's full-precision model, shipped once; or the same at b bits."""

from torch import Tensor

from chord_fl.cloud.checkpoint import Trained
from chord_fl.config import Config
from chord_fl.models.layouts import Layout
from chord_fl.models.matrices import FULL_PRECISION_BITS, Matrix, coded, matrix_bytes
from chord_fl.models.shipment import pack
from chord_fl.wire.param import full_precision_mbit, quantised_mbit
from strategies.base import DeviceStrategy


class Static(DeviceStrategy):
    """Nobody is asked anything; every device ranks with the same weights."""

    method = "full"
    action = "static"

    @classmethod
    def bits(cls, config: Config) -> int:
        """The bit-width of the matrices that are shipped, on average over their weights."""
        return config.static.bits

    @classmethod
    def matrices(cls, config: Config, trained: Trained) -> list[Matrix]:
        """What is shipped: the trained matrices, those that are in full precision quantised to `bits`."""
        bits, matrices = cls.bits(config), list(trained.model.matrices())
        if bits == FULL_PRECISION_BITS:
            return matrices
        return [coded([matrix], bits) if isinstance(matrix, Tensor) else matrix for matrix in matrices]

    @classmethod
    def pack_shipment(cls, config: Config, trained: Trained) -> bytes:
        """Shared parameters and the trained matrices."""
        return pack(trained.model.spec, trained.model.backbone, matrices=cls.matrices(config, trained))

    @classmethod
    def matrix_bytes(cls, config: Config, trained: Trained) -> int:
        """Of the shipment, what holds matrices."""
        return matrix_bytes(cls.matrices(config, trained))

    @classmethod
    def param_mbit(cls, config: Config, layout: Layout) -> float:
        """32·(W + B), or b·W + 32·B at b bits."""
        bits = cls.bits(config)
        return full_precision_mbit(layout) if bits == FULL_PRECISION_BITS else quantised_mbit(layout, bits)
