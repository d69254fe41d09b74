"""What a model is, in numbers: enough to rebuild its frozen part from the seed and to check what arrives against it."""

from dataclasses import asdict, dataclass
from functools import cached_property

from torch import Tensor

from chord_fl.models import sasrec
from chord_fl.models.frozen import Layout, frozen_weights
from chord_fl.models.profile import ProfileEncoder
from chord_fl.models.sasrec import SASRec


@dataclass(frozen=True)
class ModelSpec:
    """The shape of a backbone, its ladder, and the seed of its frozen weights."""

    backbone: str
    items: int
    blocks: int
    dim: int
    window: int  # recent items that the backbone sees
    history: int  # recent items that the profile sees
    levels: tuple[int, int, int, int]  # bit-widths of the codes 0..3
    frozen_seed: int
    frozen_scale: float  # of the frozen weights, times Xavier's

    @cached_property
    def layout(self) -> Layout:
        """The frozen layers."""
        return sasrec.layout(self.blocks, self.dim)

    def frozen_weights(self) -> list[Tensor]:
        """The weights [out, in] of every frozen layer, regenerated from the seed."""
        return frozen_weights(self.layout, self.frozen_seed, self.frozen_scale)

    def build_backbone(self, dropout: float = 0.0) -> SASRec:
        """A backbone of this shape with fresh shared parameters."""
        return SASRec(self.items, self.window, self.blocks, self.dim, dropout)

    def build_encoder(self) -> ProfileEncoder:
        """A profile encoder of this shape with fresh parameters."""
        return ProfileEncoder(self.dim)

    def to_dict(self) -> dict[str, object]:
        """The fields, ready for JSON."""
        return asdict(self)
