"""What is compared user by user: methods with each other, a plan with a stranger's.

paired_tests(runs, within=("dataset", "backbone"), between="method") -> DataFrame
    within..., a, b, difference (a - b), se, p, p_holm, users, seeds, seeds_agreeing
control_tests(runs, within=("dataset", "backbone"), between="method") -> DataFrame
    within..., method, own, stranger, difference (own - stranger), se, p, p_holm, users, seeds, seeds_agreeing
user_intervals(runs, by=("dataset", "backbone", "method")) -> DataFrame
    by..., ndcg@10, se, low, high, users, seeds

`runs` has a row per finished run: the columns named above, seed, and folder, a Path whose devices.parquet has the
columns device, rank, rank_stranger and error, a row per device and round. All figures are NDCG@10.

A user's rounds are averaged first, then the user's differences over the seeds; the rest is over users. Users and seeds
that only one side has are left out. Se and p therefore speak of other users of the same trained models; whether
another training run would agree is what `seeds_agreeing` (of `seeds`) is for.

The test is a sign-flip permutation test of the users' differences. Most of them are exactly zero (neither method ranks
the item among ten), the others lie anywhere between -1 and 1: nothing about their distribution need be assumed, the
zeros drop out of themselves, and with few users the test is exact (all flips are tried), where a t-test would promise
too much. Up to 300 differences that are not zero it draws 9,999 flips (p is then never below 0.0002); beyond that the
distribution of the flipped sum, symmetric as it is, is normal to within a fraction of a percent, and is taken as such.
"""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from chord_fl.metrics import ndcg

_FLIPS = 9_999
_DRAWN = 300  # differences up to which flips are drawn; their time grows with both
_NORMAL_95 = 1.96


def paired_tests(
    runs: pd.DataFrame, within: Sequence[str] = ("dataset", "backbone"), between: str = "method"
) -> pd.DataFrame:
    """Every pair of `between` inside each combination of `within`; see the module for the columns and the test.

    p_holm is corrected for all pairs of the same combination. A pair without a common seed or user has NaN. Raises
    ValueError if a combination has two runs of one seed, FileNotFoundError if a run has no devices.parquet.
    """
    within, lines = list(within), []
    for keys, group in _groups(runs, within, between):
        scores = _by_user(group, between, "rank")
        pairs = [{"a": a, "b": b, **_compare(scores[a], scores[b])} for a, b in combinations(scores, 2)]
        lines += [{**keys, **pair} for pair in _corrected(pairs)]
    figures = ["difference", "se", "p", "p_holm", "users", "seeds", "seeds_agreeing"]
    return pd.DataFrame(lines, columns=[*within, "a", "b", *figures])


def control_tests(
    runs: pd.DataFrame, within: Sequence[str] = ("dataset", "backbone"), between: str = "method"
) -> pd.DataFrame:
    """A user's own plan against a stranger's, for each method of `runs` that was given strangers' plans.

    Columns, corrections and errors as for `paired_tests`; methods without the control have no line.
    """
    within, lines = list(within), []
    for keys, group in _groups(runs, within, between):
        own, stranger = _by_user(group, between, "rank"), _by_user(group, between, "rank_stranger")
        tests = []
        for method in own:
            difference = own[method] - stranger[method]
            if difference.notna().any(axis=None):
                both = difference.notna()
                means = {"own": _grand_mean(own[method][both]), "stranger": _grand_mean(stranger[method][both])}
                tests.append({between: method, **means, **_compare(own[method], stranger[method])})
        lines += [{**keys, **test} for test in _corrected(tests)]
    figures = ["own", "stranger", "difference", "se", "p", "p_holm", "users", "seeds", "seeds_agreeing"]
    return pd.DataFrame(lines, columns=[*within, between, *figures])


def user_intervals(runs: pd.DataFrame, by: Sequence[str] = ("dataset", "backbone", "method")) -> pd.DataFrame:
    """Mean NDCG@10 over users with its 95 % interval (normal); a row per combination of `by`.

    The interval is for one method alone: two that overlap may still differ clearly when paired.
    """
    *within, between = by
    lines = []
    for keys, group in _groups(runs, within, between):
        for method, scores in _by_user(group, between, "rank").items():
            users = scores.mean(axis=1).dropna()
            mean, se = float(users.mean()), _standard_error(users.to_numpy())
            interval = {"ndcg@10": mean, "se": se, "low": mean - _NORMAL_95 * se, "high": mean + _NORMAL_95 * se}
            seeds = int(scores.notna().any().sum())
            lines.append({**keys, between: method, **interval, "users": len(users), "seeds": seeds})
    return pd.DataFrame(lines, columns=[*by, "ndcg@10", "se", "low", "high", "users", "seeds"])


def _groups(runs: pd.DataFrame, within: Sequence[str], between: str) -> list[tuple[dict[str, object], pd.DataFrame]]:
    columns = [*within, between, "seed"]
    twice = runs.duplicated(columns)
    if twice.any():
        which = runs.loc[twice, columns].iloc[0].to_dict()
        raise ValueError(f"more than one run of {which}: name the column that tells them apart, or leave one out")
    if not within:
        return [({}, runs)]
    grouped = runs.groupby(list(within), sort=False, dropna=False)
    return [(dict(zip(within, keys, strict=True)), group) for keys, group in grouped]


def _by_user(group: pd.DataFrame, between: str, rank: str) -> dict[str, pd.DataFrame]:
    """NDCG@10 by method: a frame of devices x seeds, NaN where there is no result."""
    return {
        str(method): pd.DataFrame({run["seed"]: _scores(Path(run["folder"]), rank) for _, run in rows.iterrows()})
        for method, rows in group.groupby(between, sort=False)
    }


def _scores(folder: Path, rank: str) -> pd.Series:
    rows = pd.read_parquet(folder / "devices.parquet", columns=["device", "rank", "rank_stranger", "error"])
    rows = rows[(rows["error"] == "") & (rows["rank"] > 0) & (rows[rank] > 0)]
    return pd.Series(ndcg(rows[rank].to_numpy(), 10)).groupby(rows["device"].to_numpy()).mean()


def _compare(first: pd.DataFrame, second: pd.DataFrame) -> dict[str, float]:
    seeds = [seed for seed in first if seed in second]
    differences = first[seeds] - second[seeds]  # devices that one side lacks are NaN
    per_seed = differences.mean().dropna()
    users = differences.mean(axis=1).dropna().to_numpy(dtype=np.float64)
    if not len(users):
        return {"difference": np.nan, "se": np.nan, "p": np.nan, "users": 0, "seeds": 0, "seeds_agreeing": 0}
    mean = float(users.mean())
    return {
        "difference": mean,
        "se": _standard_error(users),
        "p": sign_flip_p(users),
        "users": len(users),
        "seeds": len(per_seed),
        "seeds_agreeing": int((np.sign(per_seed) == np.sign(mean)).sum()),
    }


def sign_flip_p(differences: NDArray[np.float64]) -> float:
    """Two-sided p of the hypothesis that each of the differences [n] might as well have the other sign.

    The same differences always give the same p: the flips come from a fixed seed.
    """
    moving = differences[differences != 0]  # a zero is the same whichever its sign
    if len(moving) < 2:
        return 1.0
    if len(moving) > _DRAWN:
        return float(2 * stats.norm.sf(abs(moving.sum()) / np.sqrt((moving**2).sum())))
    result = stats.permutation_test(
        (moving,),
        lambda values, axis: values.sum(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=_FLIPS,
        rng=np.random.default_rng(0),
    )
    return float(result.pvalue)


def holm(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Holm's correction of p [m] for m tests; NaN stays NaN and does not count."""
    corrected = np.full(len(p), np.nan)
    order = np.argsort(p)[: int(np.isfinite(p).sum())]  # NaN sorts last
    steps = p[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return corrected


def _corrected(tests: list[dict[str, object]]) -> list[dict[str, object]]:
    p = np.array([test["p"] for test in tests], dtype=np.float64)
    return [{**test, "p_holm": float(value)} for test, value in zip(tests, holm(p), strict=True)]


def _grand_mean(scores: pd.DataFrame) -> float:
    return float(scores.mean(axis=1).mean())


def _standard_error(values: NDArray[np.float64]) -> float:
    return float(values.std(ddof=1) / len(values) ** 0.5) if len(values) > 1 else float("nan")
