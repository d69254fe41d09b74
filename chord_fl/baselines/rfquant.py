"""RFQuant: mixed precision without retraining, from shared weights (Tang et al., CVPR 2024; the paper's [31]).

Taken: every layer's bit-width is drawn anew in each step, so that one set of weights serves all configurations; a
scheduler progressively freezes the most turbulent bit-widths of layers, which are then no longer drawn; after training,
a greedy search without any gradient step gives each layer its bit-width.
Deviates: turbulence is how much the quantised weights moved over an epoch relative to the weights themselves, frozen
bit-widths stay frozen, every layer keeps two; scales are min-max per step instead of
learned, and candidates end at 4 bits; there is no mitigation of information distortion; activations have no
bit-widths of their own. The search minimises the error of quantisation weighted by the layer's squared gradients on
training batches (an estimate of the loss, diagonal Fisher) under a budget of bits per weight, where the original
evaluates configurations under one of operations.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from chord_fl.baselines.base import Baseline, quantised
from chord_fl.models.matrices import Matrix, coded
from chord_fl.models.spec import ModelSpec

WIDTHS = (2, 3, 4)  # candidates of every layer
BITS = 3  # at most, on average over the weights: Avg Bits of the paper's Table 2
KEEP = 2  # bit-widths of a layer that are never frozen: one of them is within the budget
FREEZING = 0.5  # share of the epochs over which freezing goes on; the rest trains what is left
MEMORY = 0.99  # of the running mean of squared gradients, per step


def allocate(errors: Sequence[Sequence[float]], sizes: Sequence[int], allowed: Sequence[Sequence[int]]) -> list[int]:
    """Index into `WIDTHS` for each layer of `sizes` weights: at most `BITS` bits per weight, little error.

    `errors` [layers, widths] is what each choice costs, `allowed` the indices that each layer may take, rising; the
    first of each must fit. Greedy: from the narrowest, widen the layer that gains most per bit, as long as the budget
    allows.
    """
    steps = [0] * len(sizes)  # places in `allowed`
    budget = BITS * sum(sizes) - sum(WIDTHS[own[0]] * size for own, size in zip(allowed, sizes, strict=True))
    while True:
        best: tuple[float, int, int] | None = None
        for layer, (error, size, own) in enumerate(zip(errors, sizes, allowed, strict=True)):
            if steps[layer] + 1 == len(own):
                continue
            now, wider = own[steps[layer]], own[steps[layer] + 1]
            cost = (WIDTHS[wider] - WIDTHS[now]) * size
            gain = (error[now] - error[wider]) / cost
            if cost <= budget and (best is None or gain > best[0]):
                best = gain, layer, cost
        if best is None:
            return [own[step] for own, step in zip(allowed, steps, strict=True)]
        budget -= best[2]
        steps[best[1]] += 1


class RFQuant(Baseline):
    """Shared weights, the bit-widths that are still drawn, and how sensitive each layer was."""

    bits = BITS

    frozen: Tensor  # [layers, widths] bool
    sensitivity: Tensor  # [layers] running mean of the squared gradients of a layer's quantised weights

    def __init__(self, spec: ModelSpec, dropout: float = 0.0) -> None:
        super().__init__(spec, dropout)
        self.weights = nn.ParameterList(nn.Parameter(weight) for weight in spec.frozen_weights())
        self.register_buffer("frozen", torch.zeros(len(self.weights), len(WIDTHS), dtype=torch.bool))
        self.register_buffer("sensitivity", torch.zeros(len(self.weights)))
        for index, weight in enumerate(self.weights):
            self.register_buffer(f"_before{index}", weight.detach().clone())  # at the beginning of the epoch before

    def training_passes(self, history: Tensor, windows: Tensor) -> Iterator[Tensor]:
        """States [N, w, d] with a bit-width for each layer that is drawn among those not frozen."""
        drawn = torch.multinomial((~self.frozen.cpu()).to(torch.float32), 1)[:, 0].tolist()
        weights = []
        for index, (weight, place) in enumerate(zip(self.weights, drawn, strict=True)):
            rounded = quantised(weight, WIDTHS[place])
            if rounded.requires_grad:
                rounded.register_hook(self._watch(index))
            weights.append(rounded)
        yield self.states(windows, weights)

    @torch.no_grad()
    def begin_epoch(self, epoch: int, epochs: int) -> None:
        """Freeze what is due before epoch `epoch` (1-based) of `epochs`: the most turbulent first, over all layers."""
        if epoch > 1:
            turbulence = self._turbulence()
            progress = min(1.0, (epoch - 1) / max(1.0, FREEZING * epochs))
            due = int(progress * len(self.weights) * (len(WIDTHS) - KEEP))
            for place in turbulence.flatten().argsort(descending=True, stable=True).tolist():
                layer, width = divmod(place, len(WIDTHS))
                if int(self.frozen.sum()) >= due:
                    break
                if int((~self.frozen[layer]).sum()) > KEEP:
                    self.frozen[layer, width] = True
        for index, weight in enumerate(self.weights):
            self.get_buffer(f"_before{index}").copy_(weight)

    @torch.no_grad()
    def widths(self) -> list[int]:
        """The bit-width of each layer as deployed, one of those that are still trained."""
        errors = [
            [float(share * (quantised(weight, bits) - weight).square().sum()) for bits in WIDTHS]
            for weight, share in zip(self.weights, self.sensitivity, strict=True)
        ]
        allowed = [torch.nonzero(~row)[:, 0].tolist() for row in self.frozen.cpu()]
        chosen = allocate(errors, [weight.numel() for weight in self.weights], allowed)
        return [WIDTHS[place] for place in chosen]

    def deployed(self) -> list[Tensor]:
        """The weights at the chosen bit-widths."""
        return [quantised(weight, bits) for weight, bits in zip(self.weights, self.widths(), strict=True)]

    def matrices(self) -> list[Matrix]:
        """Codes at the chosen bit-widths."""
        return [coded([weight], bits) for weight, bits in zip(self.weights, self.widths(), strict=True)]

    def _watch(self, layer: int) -> Callable[[Tensor], None]:
        def remember(gradient: Tensor) -> None:
            self.sensitivity[layer].mul_(MEMORY).add_((1 - MEMORY) * gradient.square().mean())

        return remember

    def _turbulence(self) -> Tensor:
        """Squared change of the quantised weights in an epoch, per that of the weights, [layers, widths] float32."""
        found = torch.zeros(self.frozen.shape)
        for index, weight in enumerate(self.weights):
            before = self.get_buffer(f"_before{index}")
            moved = (weight - before).square().sum().clamp(min=1e-30)
            for place, bits in enumerate(WIDTHS):
                change = quantised(weight, bits) - quantised(before, bits)
                found[index, place] = change.square().sum() / moved
        return found
