import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from chord_fl.report.paired import control_tests, holm, paired_tests, sign_flip_p, user_intervals

GAIN = {0: 0.0, 1: 1.0, 3: 0.5}  # NDCG@10 of a rank; 0 stands for one beyond the tenth here


def run(
    folder: Path,
    method: str,
    seed: int,
    ranks: Sequence[int],
    strangers: Sequence[int] = (),
    failed: Sequence[int] = (),
    devices: Sequence[int] = (),
) -> dict[str, object]:
    """A run whose device i has ranks[i]; 99 is an item that nobody sees."""
    place = folder / f"{method}-{seed}-{len(list(folder.iterdir()))}"
    place.mkdir()
    count = len(ranks)
    rows = pd.DataFrame({"device": list(devices) or list(range(count)), "rank": ranks, "round": 1, "error": ""})
    rows["rank_stranger"] = list(strangers) or [0] * count
    rows.loc[rows["device"].isin(failed), "error"] = "lost"
    rows.to_parquet(place / "devices.parquet")
    return {"dataset": "d", "backbone": "b", "method": method, "seed": seed, "folder": str(place)}


def test_differences_are_paired_over_users(tmp_path: Path) -> None:
    a = run(tmp_path, "a", 0, [1, 3, 99, 99])  # 1, 0.5, 0, 0
    b = run(tmp_path, "b", 0, [3, 99, 99, 99])  # 0.5, 0, 0, 0
    line = paired_tests(pd.DataFrame([a, b])).iloc[0]
    assert (line["a"], line["b"]) == ("a", "b")
    assert line["difference"] == pytest.approx(0.25)  # of 0.5, 0.5, 0, 0
    assert line["se"] == pytest.approx(math.sqrt(4 * 0.25**2 / 3) / 2)
    assert line["p"] == pytest.approx(0.5)  # two differences: two of the four flips are as extreme
    assert (line["users"], line["seeds"], line["seeds_agreeing"]) == (4, 1, 1)


def test_seeds_of_a_user_are_averaged_first_and_only_common_ones_count(tmp_path: Path) -> None:
    lines = [
        *(run(tmp_path, "a", 0, [1, 1]), run(tmp_path, "a", 1, [99, 3]), run(tmp_path, "a", 2, [1, 1])),
        *(run(tmp_path, "b", 0, [99, 99]), run(tmp_path, "b", 1, [1, 3]), run(tmp_path, "b", 7, [1, 1])),
    ]
    line = paired_tests(pd.DataFrame(lines)).iloc[0]
    # seed 0: +1, +1; seed 1: -1, 0; by user: 0 and 0.5
    assert line["difference"] == pytest.approx(0.25)
    assert line["se"] == pytest.approx(0.25)
    assert (line["users"], line["seeds"], line["seeds_agreeing"]) == (2, 2, 1)


def test_only_users_that_both_ranked(tmp_path: Path) -> None:
    a = run(tmp_path, "a", 0, [1, 1, 1, 1], failed=[3])
    b = run(tmp_path, "b", 0, [3, 0, 99, 99], devices=[0, 1, 2, 5])  # no result of device 1, none at all of 3
    line = paired_tests(pd.DataFrame([a, b])).iloc[0]
    assert line["users"] == 2  # devices 0 and 2
    assert line["difference"] == pytest.approx(0.75)


def test_rounds_of_a_device_are_averaged(tmp_path: Path) -> None:
    a = run(tmp_path, "a", 0, [1, 99, 1, 1], devices=[0, 0, 1, 1])
    b = run(tmp_path, "b", 0, [99, 99])
    line = paired_tests(pd.DataFrame([a, b])).iloc[0]
    assert (line["users"], line["difference"]) == (2, 0.75)


def test_pairs_within_each_group_with_their_own_correction(tmp_path: Path) -> None:
    lines = [
        run(tmp_path, name, 0, ranks) for name, ranks in zip("abc", ([1] * 8, [3] * 8, [3] * 7 + [99]), strict=True)
    ]
    other = [line | {"backbone": "other"} for line in lines[:2]]
    tests = paired_tests(pd.DataFrame(lines + other)).set_index(["backbone", "a", "b"])
    assert len(tests) == 4
    p = 2 / 2**8  # eight differences of one sign
    assert tests.loc[("b", "a", "b"), "p"] == pytest.approx(p)
    assert tests.loc[("b", "a", "b"), "p_holm"] == pytest.approx(3 * p)
    assert tests.loc[("b", "b", "c"), "p_holm"] == 1.0
    assert tests.loc[("other", "a", "b"), "p_holm"] == pytest.approx(p)


def test_a_pair_without_common_seeds_is_not_a_number(tmp_path: Path) -> None:
    lines = [run(tmp_path, "a", 0, [1, 1]), run(tmp_path, "b", 1, [1, 1]), run(tmp_path, "c", 0, [3, 3])]
    tests = paired_tests(pd.DataFrame(lines)).set_index(["a", "b"])
    assert math.isnan(tests.loc[("a", "b"), "p"]) and math.isnan(tests.loc[("a", "b"), "p_holm"])
    assert tests.loc[("a", "c"), "p_holm"] == tests.loc[("a", "c"), "p"]
    assert tests.loc[("a", "b"), "users"] == 0


def test_two_runs_of_a_seed_are_refused(tmp_path: Path) -> None:
    lines = [run(tmp_path, "a", 0, [1]), run(tmp_path, "a", 0, [1])]
    for function in (paired_tests, control_tests, user_intervals):
        with pytest.raises(ValueError, match="more than one run"):
            function(pd.DataFrame(lines))


def test_own_plan_against_a_strangers(tmp_path: Path) -> None:
    lines = [
        run(tmp_path, "chord", 0, [1, 3, 99, 1], strangers=[3, 99, 99, 0]),  # the last one met no stranger
        run(tmp_path, "static", 0, [1, 1, 1, 1]),
    ]
    tests = control_tests(pd.DataFrame(lines))
    assert list(tests["method"]) == ["chord"]
    line = tests.iloc[0]
    assert line["own"] == pytest.approx(0.5)
    assert line["stranger"] == pytest.approx(0.5 / 3)
    assert line["difference"] == pytest.approx(1 / 3)
    assert (line["users"], line["p"], line["p_holm"]) == (3, 0.5, 0.5)


def test_no_control_is_an_empty_table(tmp_path: Path) -> None:
    tests = control_tests(pd.DataFrame([run(tmp_path, "static", 0, [1, 1])]))
    assert tests.empty and "p_holm" in tests


def test_intervals_over_users(tmp_path: Path) -> None:
    lines = [run(tmp_path, "a", 0, [1, 99, 99, 3]), run(tmp_path, "a", 1, [1, 99, 99, 99])]
    line = user_intervals(pd.DataFrame(lines)).iloc[0]
    users = np.array([1, 0, 0, 0.25])
    assert line["ndcg@10"] == pytest.approx(users.mean())
    assert line["se"] == pytest.approx(users.std(ddof=1) / 2)
    assert line["high"] - line["low"] == pytest.approx(2 * 1.96 * line["se"])
    assert (line["users"], line["seeds"]) == (4, 2)


def test_the_sign_flip_test_is_exact_for_few() -> None:
    # 1, 2, 3 and their flips: sums of +6, 4, 2, 0, 0, -2, -4, -6; two of eight are as far out as 6, four as 4
    assert sign_flip_p(np.array([1.0, 2.0, 3.0])) == pytest.approx(2 / 8)
    assert sign_flip_p(np.array([-1.0, 2.0, 3.0])) == pytest.approx(4 / 8)
    zeros = np.zeros(500)
    assert sign_flip_p(np.r_[zeros, 1.0, 2.0, 3.0]) == pytest.approx(2 / 8)
    assert sign_flip_p(zeros) == sign_flip_p(np.r_[zeros, 1.0]) == 1.0
    assert sign_flip_p(np.ones(200)) == pytest.approx(2 / 10_000)  # as far as the drawn flips can tell


@pytest.mark.parametrize("shift", [0.0, 0.05, 0.1])
def test_drawn_flips_and_their_normal_limit_agree(shift: float) -> None:
    some = np.random.default_rng(1).choice([-1.0, -0.5, 0.4, 1.0], 300) + shift
    drawn = sign_flip_p(some)
    assert drawn == sign_flip_p(some)
    z = abs(some.sum()) / math.sqrt((some**2).sum())
    assert drawn == pytest.approx(math.erfc(z / math.sqrt(2)), abs=0.02)
    more = np.r_[some, 1e-9]
    assert sign_flip_p(more) == pytest.approx(math.erfc(z / math.sqrt(2)), abs=1e-6)


def test_holm_by_hand() -> None:
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, np.nan])), [0.03, 0.06, 0.06, np.nan])
    np.testing.assert_allclose(holm(np.array([0.5, 0.9])), [1.0, 1.0])
    assert len(holm(np.array([]))) == 0
