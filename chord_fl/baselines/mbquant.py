"""MBQuant: bit-widths made of 2-bit branches (Zhong et al., Pattern Recognition 158, 2025; the paper's [47]).

Taken: every branch has weights of its own, always quantised to 2 bits; the outputs of a layer's branches add up, so
that a layer of two branches is one of 4 bits, and the number of branches sets the bit-width. Branches are chosen so
that the errors of quantisation are amortised.
Deviates: the original trains one model for many bit-widths and amortises over these which branches are used; at the one
target of 3 bits there is nothing to switch, so that the choice is which layers have two branches: as near to 3 bits
per weight as the layers' sizes allow, spread evenly over the depth. No distillation from wider configurations. Branches
belong to layers; the original duplicates the body of the network.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from chord_fl.baselines.base import Baseline, quantised
from chord_fl.models.matrices import Matrix, coded
from chord_fl.models.spec import ModelSpec
from chord_fl.quantization.affine import fake_quantise

BRANCH_BITS = 2
BITS = 3  # at most, on average over the weights: Avg Bits of the paper's Table 2


def doubled(sizes: Sequence[int]) -> list[bool]:
    """Which layers of `sizes` weights have two branches: at most half of all weights, hence 3 bits on
    average, and as many as possible.

    Among these choices, the one whose running average of bits stays nearest to 3 from the first layer to the last.
    """
    # best choice for every number of weights in doubled layers: [squared distance from half, summed over depth; choice]
    best: dict[int, tuple[int, tuple[bool, ...]]] = {0: (0, ())}
    most, seen = sum(sizes) // 2, 0
    for size in sizes:
        seen += size
        longer: dict[int, tuple[int, tuple[bool, ...]]] = {}
        for total, (cost, choice) in best.items():
            for two in (False, True):
                reached = total + size * two
                candidate = (cost + (2 * reached - seen) ** 2, (*choice, two))
                if reached <= most and candidate < longer.get(reached, (candidate[0] + 1, ())):
                    longer[reached] = candidate
        best = longer
    return list(best[max(best)][1])


class MBQuant(Baseline):
    """Two branches of 2 bits in some layers, one in the others; 3 bits on average, or as near below as possible."""

    bits = BITS

    def __init__(self, spec: ModelSpec, dropout: float = 0.0) -> None:
        super().__init__(spec, dropout)
        weights = spec.frozen_weights()
        self.branches = nn.ModuleList()
        for weight, two in zip(weights, doubled([weight.numel() for weight in weights]), strict=True):
            # a second branch begins at what the first one's rounding leaves
            branches = [weight, weight - fake_quantise(weight, BRANCH_BITS)] if two else [weight]
            self.branches.append(nn.ParameterList(nn.Parameter(branch) for branch in branches))

    def deployed(self) -> list[Tensor]:
        """The sum of each layer's quantised branches."""
        weights = []
        for branches in self._by_layer():
            total = quantised(branches[0], BRANCH_BITS)
            for branch in branches[1:]:
                total = torch.add(total, quantised(branch, BRANCH_BITS))
            weights.append(total)
        return weights

    def matrices(self) -> list[Matrix]:
        """Codes of 2 bits, in one or two branches."""
        return [coded(branches, BRANCH_BITS) for branches in self._by_layer()]

    def _by_layer(self) -> list[list[Tensor]]:
        return [list(branches.parameters()) for branches in self.branches]
