"""What a model is, in numbers: enough to rebuild its frozen part from the seed and to check what arrives against it."""

import importlib
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from chord_fl.models.backbone import Backbone
from chord_fl.models.backbones import BACKBONES
from chord_fl.models.frozen import frozen_weights
from chord_fl.models.layouts import Layout
from chord_fl.models.profile import ProfileEncoder

__all__ = ["BACKBONES", "Backbone", "ModelSpec"]


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
    activation_bits: int = 32  # of what the frozen layers read; 32 leaves it as it is
    switchable_biases: bool = False  # whether a channel has a bias for each bit-width of the ladder, or one for all

    @cached_property
    def _module(self) -> Any:
        """Of the backbone; chord_fl.models.backbones says what it has."""
        return importlib.import_module(BACKBONES[self.backbone].module)

    @cached_property
    def layout(self) -> Layout:
        """The frozen layers."""
        layout: Layout = self._module.layout(self)
        return layout

    @property
    def lead(self) -> int:
        """Items that training puts before a window, so that its first target is preceded by a whole one."""
        return int(self._module.lead(self))

    @property
    def span(self) -> int:
        """Targets of one training sequence: the states that the backbone gives for `lead + span` items."""
        return int(self._module.span(self))

    @property
    def bias_rows(self) -> tuple[int, ...]:
        """What precedes the channels in the shape of a layer's biases: the widths of the ladder, or nothing."""
        return (len(self.levels),) if self.switchable_biases else ()

    def operations(self, length: int) -> int:
        """Additions and multiplications of the backbone over `length` items, without the scores."""
        return int(self._module.operations(self, length))

    def frozen_weights(self) -> list[Tensor]:
        """The weights [out, in] of every frozen layer, regenerated from the seed."""
        return frozen_weights(self.layout, self.frozen_seed, self.frozen_scale)

    def build_backbone(self, dropout: float = 0.0) -> Backbone:
        """A backbone of this shape with fresh shared parameters."""
        backbone: Backbone = self._module.build(self, dropout)
        return backbone

    def backbone_shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the backbone's state, without allocating it."""
        with torch.device("meta"):
            return {name: tuple(value.shape) for name, value in self.build_backbone().state_dict().items()}

    def build_encoder(self) -> ProfileEncoder:
        """A profile encoder of this shape with fresh parameters."""
        return ProfileEncoder(self.dim)

    def to_dict(self) -> dict[str, object]:
        """The fields, ready for JSON."""
        return asdict(self)
