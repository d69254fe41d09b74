"""Three hypernetworks that read a profile and say how much every layer, channel and weight matters to that user.

Channel importance is softmax(filter) × Σ|element| (paper, eq. 7-11). Straight from the equations the scores of all
users rank the channels alike; what makes plans differ is to standardise each channel's log-importance *across users*
(batch norm without affine, running statistics once deployed).
"""

import torch
from torch import Tensor, nn

from chord_fl.models.frozen import Layout


class Importance(nn.Module):
    """Profiles to importance scores, for one layout of frozen layers."""

    def __init__(self, layout: Layout, dim: int) -> None:
        super().__init__()
        self.layout = layout
        self.filters = nn.Linear(dim, layout.channels)
        self.elements = nn.ModuleList(nn.Linear(dim, layer.channels * layer.size) for layer in layout.layers)
        self.layers = nn.Linear(dim, len(layout.layers))
        self.across_users = nn.BatchNorm1d(layout.channels, affine=False)
        self.layers_across_users = nn.BatchNorm1d(len(layout.layers), affine=False)

    def forward(self, profiles: Tensor) -> tuple[Tensor, Tensor]:
        """Scores of channels [B, C] and of layers [B, L] for `profiles` [B, l], each standardised across users."""
        filters = self.filters(profiles).split(self.layout.widths, dim=1)
        scores = []
        for layer, filter_scores, hypernetwork in zip(self.layout.layers, filters, self.elements, strict=True):
            # layer by layer: the element scores of one layer fit the processor's cache, those of all layers do not
            elements = hypernetwork(profiles).view(-1, layer.channels, layer.size)
            # in place: the scores are as many as the weights, and a second copy would cost as much as the product
            strengths = elements.abs_().sum(-1).clamp(min=1e-12)
            scores.append(filter_scores.log_softmax(-1) + strengths.log())
        return self.across_users(torch.cat(scores, dim=1)), self.layers_across_users(self.layers(profiles))
