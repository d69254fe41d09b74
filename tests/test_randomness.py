import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chord_fl.randomness import normal, raw, uniform

DRAWS = [raw, uniform, normal]


@pytest.mark.parametrize("draw", DRAWS)
@settings(deadline=None)
@given(st.integers(0, 2**64 - 1), st.integers(0, 10**9), st.integers(1, 12), st.integers(1, 9), st.data())
def test_any_range_of_rows_is_the_same_as_within_the_whole(
    draw: type, seed: int, first: int, rows: int, columns: int, data: st.DataObject
) -> None:
    whole = draw(seed, "rows", first, rows, columns)
    start = data.draw(st.integers(0, rows - 1))
    stop = data.draw(st.integers(start + 1, rows))
    part = draw(seed, "rows", first + start, stop - start, columns)
    assert whole.shape == (rows, columns)
    np.testing.assert_array_equal(part, whole[start:stop])


def test_every_machine_draws_these_words() -> None:
    assert raw(0, "x", 0, 1, 2).tolist() == [[10053722205409515125, 16474846193332315646]]
    assert raw(1, "x", 0, 1, 2).tolist() == [[3707525508909521551, 18439550121083609686]]


def test_seed_purpose_and_row_each_give_other_numbers() -> None:
    seeds = (0, 1, 2**63 - 1, 2**63, 2**63 + 1, 2**64 - 1)
    draws = [raw(seed, purpose, first, 1, 4) for seed in seeds for purpose in ("a", "b") for first in (0, 1)]
    assert len({words.tobytes() for words in draws}) == len(draws)


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_has_64_bits(seed: int) -> None:
    with pytest.raises(OverflowError):
        raw(seed, "a", 0, 1, 1)


def test_uniform_numbers_fill_the_open_interval() -> None:
    numbers = uniform(3, "moments", 0, 50_000, 4)
    assert numbers.dtype == np.float64 and numbers.min() > 0 and numbers.max() < 1
    np.testing.assert_allclose(numbers.mean(0), 0.5, atol=0.006)
    np.testing.assert_allclose(numbers.var(0), 1 / 12, atol=0.002)
    np.testing.assert_allclose(np.corrcoef(numbers.T), np.eye(4), atol=0.02)
    counts, _ = np.histogram(numbers, bins=50, range=(0, 1))
    assert np.abs(counts / counts.mean() - 1).max() < 0.08


def test_normal_numbers_have_the_moments_of_the_standard_normal() -> None:
    numbers = normal(3, "moments", 0, 50_000, 3)
    assert numbers.dtype == np.float64 and np.isfinite(numbers).all()
    np.testing.assert_allclose(numbers.mean(0), 0, atol=0.02)
    np.testing.assert_allclose(numbers.std(0), 1, atol=0.015)
    np.testing.assert_allclose((numbers**3).mean(0), 0, atol=0.06)
    np.testing.assert_allclose((numbers**4).mean(0), 3, atol=0.15)
    np.testing.assert_allclose(np.corrcoef(numbers.T), np.eye(3), atol=0.02)
