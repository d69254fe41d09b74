"""SASRec (Kang and McAuley, 2018) as published: causal single-head attention and two pointwise layers per block.

The module holds what the cloud trains and ships once (item and position embeddings, LayerNorms, biases). The matrices
of its linear layers are arguments: frozen and quantised per device, shared, or trained, the code is the same.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from chord_fl.models import layouts
from chord_fl.models.backbone import Backbone
from chord_fl.models.layouts import SASREC_PARTS, Layout
from chord_fl.models.linear import linear
from chord_fl.quantization.activations import Activations

if TYPE_CHECKING:
    from chord_fl.models.spec import ModelSpec


class SASRec(Backbone):
    """The shared part of the backbone."""

    def __init__(
        self,
        items: int,
        window: int,
        blocks: int,
        dim: int,
        dropout: float = 0.0,
        activation_bits: int = 32,
        bias_rows: tuple[int, ...] = (),
    ) -> None:
        super().__init__()
        self.blocks, self.dim = blocks, dim
        self.items = nn.Embedding(items + 1, dim, padding_idx=0)
        self.positions = nn.Embedding(window, dim)
        self.attention_norms = nn.ModuleList(nn.LayerNorm(dim, eps=1e-8) for _ in range(blocks))
        self.pointwise_norms = nn.ModuleList(nn.LayerNorm(dim, eps=1e-8) for _ in range(blocks))
        self.final_norm = nn.LayerNorm(dim, eps=1e-8)
        self.biases = nn.ParameterList(torch.zeros(*bias_rows, dim) for _ in range(blocks * len(SASREC_PARTS)))
        self.activations = Activations(blocks * len(SASREC_PARTS), activation_bits)
        self.dropout = nn.Dropout(dropout)
        nn.init.normal_(self.items.weight, std=1.0 / math.sqrt(dim))
        nn.init.normal_(self.positions.weight, std=1.0 / math.sqrt(dim))
        with torch.no_grad():
            self.items.weight[0].zero_()

    def forward(self, windows: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor] | None = None) -> Tensor:
        """States [N, w, d] after each item of `windows` [N, w] int64; see `models.linear` for the forms of `weights`.

        `biases` stands in for the shared ones where every device has its own (fine-tuning, and switchable biases).
        """
        biases = list(self.biases) if biases is None else biases
        length = windows.shape[1]
        real = windows > 0
        causal = torch.ones(length, length, dtype=torch.bool, device=windows.device).tril()
        visible = causal & real[:, None, :]
        states = self.items(windows) * math.sqrt(self.dim) + self.positions.weight[-length:]
        states = self.dropout(states) * real[..., None]

        def layer(index: int, inputs: Tensor) -> Tensor:
            return linear(self.activations(index, inputs), weights[index], biases[index])

        for block in range(self.blocks):
            query, key, value, inner, outer = range(len(SASREC_PARTS) * block, len(SASREC_PARTS) * (block + 1))
            normed = self.attention_norms[block](states)
            attended = self._attend(layer(query, normed), layer(key, states), layer(value, states), visible)
            states = self.pointwise_norms[block](normed + attended)
            hidden = self.dropout(F.relu(layer(inner, states)))
            states = (states + self.dropout(layer(outer, hidden))) * real[..., None]
        final: Tensor = self.final_norm(states)
        return final

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, visible: Tensor) -> Tensor:
        logits = torch.bmm(query, key.transpose(1, 2)) / math.sqrt(self.dim)
        # a large finite number, not infinity: rows of padding see nothing and must stay finite
        shares = self.dropout(logits.masked_fill(~visible, -1e9).softmax(-1))
        return torch.bmm(shares, value)


def build(spec: "ModelSpec", dropout: float) -> SASRec:
    """A backbone of this shape with fresh shared parameters."""
    return SASRec(spec.items, spec.window, spec.blocks, spec.dim, dropout, spec.activation_bits, spec.bias_rows)


def layout(spec: "ModelSpec") -> Layout:
    """The frozen layers."""
    return layouts.sasrec(spec.blocks, spec.dim)


def lead(spec: "ModelSpec") -> int:
    """None: causal attention gives a state after every item of a window."""
    return 0


def span(spec: "ModelSpec") -> int:
    """A window."""
    return spec.window


def operations(spec: "ModelSpec", length: int) -> int:
    """The layers at each of `length` items, and attention among them."""
    attention = 2 * 2 * length**2 * spec.dim
    return 2 * length * layout(spec).weights + spec.blocks * attention
