"""Finetune: the static model, which every device trains further on its own history before it ranks."""

from chord_fl.config import Config
from chord_fl.models.matrices import FULL_PRECISION_BITS
from strategies.messages import Scalar
from strategies.static import Static


class Finetune(Static):
    """Bytes like Static's in full precision; what it costs is computing on the device."""

    action = "finetune"

    @classmethod
    def bits(cls, config: Config) -> int:
        """Gradient descent needs full precision, whatever `static.bits` says."""
        return FULL_PRECISION_BITS

    def request(self, server_round: int) -> dict[str, Scalar]:
        """How the devices shall train."""
        return {"steps": self.config.finetune.steps, "learning_rate": self.config.finetune.learning_rate}
