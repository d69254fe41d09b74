"""SASRec (Kang and McAuley, 2018) as published: causal single-head attention and two pointwise layers per block.

The module holds what the cloud trains and ships once (item and position embeddings, LayerNorms, biases). The matrices
of its linear layers are arguments: frozen and quantised per device, shared, or trained, the code is the same.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from chord_fl.models.frozen import Layer, Layout

_PARTS = ("query", "key", "value", "inner", "outer")


def layout(blocks: int, dim: int) -> Layout:
    """Five d×d layers per block; 4 blocks of 64 give the 83,200 weights and biases of the paper's Table 2."""
    return Layout(tuple(Layer(f"block{block}.{part}", dim, dim) for block in range(blocks) for part in _PARTS))


def linear(inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`inputs` [N, T, in] times `weight` plus `bias`: one matrix [out, in] for all, or one per device [B, out, in].

    With a matrix per device, N is a multiple of B and each device owns N / B consecutive sequences; its `bias` is
    [out], or [B, out].
    """
    if weight.dim() == 2:
        return F.linear(inputs, weight, bias)
    rows = inputs.reshape(weight.shape[0], -1, inputs.shape[-1])
    bias = bias[:, None, :] if bias.dim() == 2 else bias
    return (torch.bmm(rows, weight.transpose(1, 2)) + bias).reshape(*inputs.shape[:-1], weight.shape[1])


class SASRec(nn.Module):
    """The shared part of the backbone. Item 0 is padding; windows are padded on the left."""

    def __init__(self, items: int, window: int, blocks: int, dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.blocks, self.dim = blocks, dim
        self.items = nn.Embedding(items + 1, dim, padding_idx=0)
        self.positions = nn.Embedding(window, dim)
        self.attention_norms = nn.ModuleList(nn.LayerNorm(dim, eps=1e-8) for _ in range(blocks))
        self.pointwise_norms = nn.ModuleList(nn.LayerNorm(dim, eps=1e-8) for _ in range(blocks))
        self.final_norm = nn.LayerNorm(dim, eps=1e-8)
        self.biases = nn.ParameterList(torch.zeros(dim) for _ in range(blocks * len(_PARTS)))
        self.dropout = nn.Dropout(dropout)
        nn.init.normal_(self.items.weight, std=1.0 / math.sqrt(dim))
        nn.init.normal_(self.positions.weight, std=1.0 / math.sqrt(dim))
        with torch.no_grad():
            self.items.weight[0].zero_()

    def forward(self, windows: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor] | None = None) -> Tensor:
        """States [N, w, d] after each item of `windows` [N, w] int64; see `linear` for the forms of `weights`.

        `biases` stands in for the shared ones where every device has its own (fine-tuning).
        """
        biases = list(self.biases) if biases is None else biases
        length = windows.shape[1]
        real = windows > 0
        causal = torch.ones(length, length, dtype=torch.bool, device=windows.device).tril()
        visible = causal & real[:, None, :]
        states = self.items(windows) * math.sqrt(self.dim) + self.positions.weight[-length:]
        states = self.dropout(states) * real[..., None]
        for block in range(self.blocks):
            first = len(_PARTS) * block
            query, key, value, inner, outer = zip(weights[first : first + 5], biases[first : first + 5], strict=True)
            normed = self.attention_norms[block](states)
            attended = self._attend(linear(normed, *query), linear(states, *key), linear(states, *value), visible)
            states = self.pointwise_norms[block](normed + attended)
            hidden = self.dropout(F.relu(linear(states, *inner)))
            states = (states + self.dropout(linear(hidden, *outer))) * real[..., None]
        final: Tensor = self.final_norm(states)
        return final

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, visible: Tensor) -> Tensor:
        logits = torch.bmm(query, key.transpose(1, 2)) / math.sqrt(self.dim)
        # a large finite number, not infinity: rows of padding see nothing and must stay finite
        shares = self.dropout(logits.masked_fill(~visible, -1e9).softmax(-1))
        return torch.bmm(shares, value)

    def score(self, states: Tensor) -> Tensor:
        """Logits [..., items + 1] of the whole catalogue; column 0 is padding and never an answer."""
        logits: Tensor = states @ self.items.weight.T
        return logits
