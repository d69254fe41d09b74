import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from chord_fl.metrics import METRICS, hit_rate, means, ndcg, plan_difference, rank_of, strangers

# few distinct scores, so that ties are common
tables = hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(-2, 2))
plans = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(0, 3))
rank_lists = hnp.arrays(np.int64, st.integers(1, 30), elements=st.integers(0, 40))


@given(tables, st.data())
def test_a_rank_is_the_place_in_a_stable_sort(scores: NDArray[np.float32], data: st.DataObject) -> None:
    targets = np.array([data.draw(st.integers(0, scores.shape[1] - 1)) for _ in scores])
    ranks = rank_of(torch.from_numpy(scores), torch.from_numpy(targets))
    assert ranks.dtype == torch.int64
    for row, rank, target in zip(scores, ranks.tolist(), targets, strict=True):
        assert rank == 1 + np.argsort(-row, kind="stable").tolist().index(target)


def test_a_constant_score_earns_what_the_column_says() -> None:
    assert rank_of(torch.zeros(3, 9), torch.tensor([0, 4, 8])).tolist() == [1, 5, 9]


def test_columns_of_minus_infinity_do_not_compete() -> None:
    scores = torch.tensor([[-torch.inf, 1.0, -5.0, -torch.inf]])
    assert rank_of(scores, torch.tensor([2])).tolist() == [2]


def test_a_score_that_is_no_number_ranks_last() -> None:
    nan = float("nan")
    scores = torch.tensor([[nan, nan, nan], [1.0, nan, 2.0], [nan, 1.0, 0.0]])
    assert rank_of(scores, torch.tensor([0, 1, 1])).tolist() == [3, 3, 1]


@given(rank_lists, st.integers(1, 20))
def test_metrics_are_those_of_the_definitions(ranks: NDArray[np.int64], k: int) -> None:
    for rank, hit, gain in zip(ranks.tolist(), hit_rate(ranks, k), ndcg(ranks, k), strict=True):
        # a list of 41 items with the one relevant item at its rank; 0 stands for a device without a result
        relevant = [float(place == rank) for place in range(1, 42)]
        assert hit == sum(relevant[:k])
        assert gain == pytest.approx(sum(x / math.log2(place + 1) for place, x in enumerate(relevant[:k], start=1)))


@given(rank_lists)
def test_means_are_over_devices(ranks: NDArray[np.int64]) -> None:
    found = means(ranks)
    assert tuple(found) == METRICS == ("ndcg@5", "hr@5", "ndcg@10", "hr@10")
    for k in (5, 10):
        assert found[f"hr@{k}"] == pytest.approx(np.mean([1 <= rank <= k for rank in ranks]))
        assert found[f"ndcg@{k}"] == pytest.approx(ndcg(ranks, k).mean())


def test_means_over_nobody_are_not_a_number() -> None:
    assert all(math.isnan(value) for value in means(np.zeros(0, np.int64)).values())


@given(plans)
def test_plan_difference_is_the_mean_over_all_pairs(codes: NDArray[np.uint8]) -> None:
    pairs = [np.mean(one != other) for one, other in itertools.combinations(codes, 2)]
    if not pairs:
        assert math.isnan(plan_difference(codes))
    else:
        assert plan_difference(codes) == pytest.approx(np.mean(pairs), abs=1e-12)


def test_plans_alike_differ_nowhere_and_disjoint_ones_everywhere() -> None:
    assert plan_difference(np.full((50, 7), 3, np.uint8)) == 0
    assert plan_difference(np.array([[0, 1, 2], [1, 2, 3]], np.uint8)) == 1


@given(st.integers(2, 200), st.integers(0, 2**32 - 1))
def test_every_device_meets_one_stranger_and_is_met_once(devices: int, seed: int) -> None:
    others = strangers(devices, seed)
    assert sorted(others.tolist()) == list(range(devices))
    assert (others != np.arange(devices)).all()
    np.testing.assert_array_equal(others, strangers(devices, seed))


def test_strangers_depend_on_the_seed_and_one_device_has_none() -> None:
    assert strangers(50, 1).tolist() != strangers(50, 2).tolist()
    assert strangers(1, 0).tolist() == [0] and strangers(0, 0).tolist() == []
