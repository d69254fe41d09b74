"""The profile encoder: a GRU over a device's interactions; its last state is all that the device uploads (eq. 6)."""

import torch
from torch import Tensor, nn


class ProfileEncoder(nn.Module):
    """Runs on the device. It reads the backbone's item embeddings, so that both speak of the same items."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gru = nn.GRU(dim, dim, batch_first=True)

    def forward(self, history: Tensor, items: nn.Embedding) -> Tensor:
        """Profiles [B, d] of `history` [B, h] int64, padded on the left with 0. An empty history gives zeros."""
        lengths = (history > 0).sum(1)
        # the GRU has no mask: move the padding to the right and read the state after the last real item
        order = (torch.arange(history.shape[1], device=history.device) - lengths[:, None]) % history.shape[1]
        states, _ = self.gru(items(history.gather(1, order)))
        last = states[torch.arange(len(history), device=history.device), (lengths - 1).clamp(min=0)]
        profile: Tensor = last * (lengths > 0)[:, None]
        return profile
