import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from chord_fl.models.layouts import Layer, Layout, caser
from chord_fl.report.channels import COLUMNS, count_bits

LAYOUT = Layout((Layer("a", 3, 4), Layer("b", 2, 9), Layer("c", 1, 5)))
LEVELS = (2, 4, 6, 8)


def codes(users: st.SearchStrategy[int]) -> st.SearchStrategy[np.ndarray]:
    return users.flatmap(lambda count: arrays(np.uint8, (count, LAYOUT.channels), elements=st.integers(0, 3)))


@given(codes(st.integers(1, 6)))
def test_counts_are_those_of_a_walk_over_devices_and_channels(plans: np.ndarray) -> None:
    table = count_bits(plans, LAYOUT, LEVELS)
    assert tuple(table.columns) == COLUMNS and len(table) == LAYOUT.channels * len(LEVELS)
    for number, (_, rows) in enumerate(table.groupby(["layer", "channel"], sort=False)):
        assert rows["bits"].tolist() == list(LEVELS)
        assert rows["devices"].tolist() == [int((plans[:, number] == code).sum()) for code in range(4)]
    bits = np.array(LEVELS)[plans]
    means = np.stack([bits[:, :3].mean(1), bits[:, 3:5].mean(1), bits[:, 5:].mean(1)], axis=1)
    first = table.groupby("layer", sort=False)["devices_highest"].first().tolist()
    assert first == [
        int((means.argmax(1) == layer)[(means == means.max(1, keepdims=True)).sum(1) == 1].sum()) for layer in range(3)
    ]


def test_the_table_does_not_grow_with_devices() -> None:
    layout, chance = caser(20, 64), np.random.default_rng(0)
    plans = chance.integers(0, 4, (500, layout.channels), dtype=np.uint8)
    small, large = count_bits(plans[:2], layout, LEVELS), count_bits(plans, layout, LEVELS)
    assert len(small) == len(large) == 4 * layout.channels
    pd.testing.assert_frame_equal(small[["layer", "channel", "bits"]], large[["layer", "channel", "bits"]])


def test_plans_that_favour_no_layer_count_for_none() -> None:
    table = count_bits(np.ones((5, LAYOUT.channels), dtype=np.uint8), LAYOUT, LEVELS)
    assert table["devices_highest"].eq(0).all()
