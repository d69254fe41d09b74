from itertools import product

import torch
from hypothesis import given
from hypothesis import strategies as st

from chord_fl.baselines.mbquant import MBQuant, doubled
from chord_fl.models import layouts
from chord_fl.models.layouts import Layout
from chord_fl.models.matrices import average_bits
from chord_fl.models.spec import ModelSpec


def sizes(layout: Layout) -> list[int]:
    return [layer.channels * layer.size for layer in layout.layers]


def bits(of: list[int], chosen: list[bool]) -> float:
    return 2 + 2 * sum(size for size, two in zip(of, chosen, strict=True) if two) / sum(of)


def test_layers_of_one_size_take_turns() -> None:
    for blocks in (1, 2, 4, 6, 64):
        of = sizes(layouts.sasrec(blocks, 64))
        chosen = doubled(of)
        assert sum(chosen) == len(of) // 2
        pairs = zip(chosen[::2], chosen[1::2], strict=False)
        assert all(one != other for one, other in pairs)  # no stretch of the depth gets less than its share


def test_caser_comes_as_near_to_three_bits_as_its_layers_allow() -> None:
    of = sizes(layouts.caser(20, 64))
    chosen = doubled(of)
    assert bits(of, chosen) == 2 + 2 * (7 * 1024 + 80) / 15440  # 2.94
    assert chosen[-1]  # the vertical layer is small enough to fit beside whatever is chosen


@given(st.lists(st.integers(1, 60), min_size=1, max_size=8))
def test_no_choice_is_nearer_from_below(of: list[int]) -> None:
    found = bits(of, doubled(of))
    every = [bits(of, list(choice)) for choice in product([False, True], repeat=len(of))]
    assert found == max(value for value in every if value <= 3)


def test_branches_are_independent_and_begin_as_four_bits() -> None:
    torch.manual_seed(0)
    spec = ModelSpec("sasrec", 30, 2, 16, 5, 9, (2, 4, 6, 8), 5, 1.0)
    model = MBQuant(spec)
    assert average_bits(model.matrices()) == 3
    counts = [len(list(branches.parameters())) for branches in model.branches]
    assert sorted(counts) == [1] * 5 + [2] * 5
    for count, weight, frozen in zip(
        counts, [weight.detach() for weight in model.deployed()], spec.frozen_weights(), strict=True
    ):
        error = float((weight - frozen).square().mean() / frozen.square().mean())
        assert error < (0.01 if count == 2 else 0.3)
        assert max(len(row.unique()) for row in weight) <= 4**count
    windows = torch.randint(1, 31, (6, 5))
    states = model(windows, windows)
    (states * torch.randn_like(states)).sum().backward()
    with torch.no_grad():  # each branch moves by itself
        for branches in model.branches:
            first, *rest = branches.parameters()
            assert all(first.data_ptr() != other.data_ptr() for other in rest)
