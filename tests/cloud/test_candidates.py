import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chord_fl.cloud.candidates import sample


@given(st.integers(0, 2**32 - 1), st.integers(1, 300), st.data())
def test_candidates_are_different_items_of_the_catalogue(seed: int, items: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, min(items, 99)))
    devices = np.array(data.draw(st.lists(st.integers(0, 5000), min_size=1, max_size=6)))
    chosen = sample(seed, 1, devices, items, count)
    assert chosen.shape == (len(devices), count) and chosen.dtype == np.int32
    assert chosen.min() >= 1 and chosen.max() <= items
    assert (np.diff(chosen, axis=1) > 0).all()  # sorted, hence none twice


@given(st.lists(st.integers(0, 2000), min_size=1, max_size=20))
def test_a_devices_candidates_do_not_depend_on_who_else_is_asked(devices: list[int]) -> None:
    together = sample(4, 2, np.array(devices), 500, 20)
    for row, device in enumerate(devices):
        assert together[row].tolist() == sample(4, 2, np.array([device]), 500, 20)[0].tolist()


def test_devices_rounds_and_seeds_draw_apart() -> None:
    devices = np.arange(50)
    first = sample(0, 1, devices, 1000, 30)
    assert len({tuple(row) for row in first.tolist()}) == 50
    assert (first != sample(0, 2, devices, 1000, 30)).mean() > 0.8
    assert (first != sample(1, 1, devices, 1000, 30)).mean() > 0.8


def test_every_item_may_be_drawn() -> None:
    drawn = sample(0, 1, np.arange(3000), 37, 10)
    share = np.bincount(drawn.ravel(), minlength=38)[1:] / 3000
    assert share.min() > 0.15 and share.max() < 0.4  # a slice has three or four items


def test_the_whole_catalogue_may_be_asked_for_and_no_more() -> None:
    assert sample(0, 1, np.array([5]), 40, 40).tolist() == [list(range(1, 41))]
    with pytest.raises(ValueError, match="41 candidates from a catalogue of 40"):
        sample(0, 1, np.array([5]), 40, 41)


def test_nobody_asks() -> None:
    assert sample(0, 1, np.zeros(0, np.int64), 40, 10).shape == (0, 10)
