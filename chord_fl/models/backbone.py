"""What every backbone is: the shared part of a recommender, whose matrices are arguments."""

from collections.abc import Sequence

from torch import Tensor, nn


class Backbone(nn.Module):
    """Base of the backbones. Item 0 is padding; windows are padded on the left.

    A backbone holds what the cloud trains and ships once, these two among it, and runs `chord_fl.models.linear.linear`
    for each layer of its layout, with the matrix and the biases of that place in `weights` and `biases`.
    """

    items: nn.Embedding  # [items + 1, d]
    biases: nn.ParameterList  # one per layer of the layout, [channels], or [4, channels] where they are switchable

    def forward(self, windows: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor] | None = None) -> Tensor:
        """States [N, T, d] of `windows` [N, w] int64: the last one scores the next item.

        See `models.linear` for the forms of `weights`; `biases` stands in for the shared ones where every device has
        its own (fine-tuning, and switchable biases).
        """
        raise NotImplementedError

    def score(self, states: Tensor) -> Tensor:
        """Logits [..., items + 1] of the whole catalogue; column 0 is padding and never an answer."""
        logits: Tensor = states @ self.items.weight.T
        return logits
