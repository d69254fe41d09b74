"""Choose learning rate and dropout of every method: the same grid for all, on validation alone.

`python benchmarks/tune.py` trains every method on ML-100K, seed 0, with every pair of chord_fl.tuning.GRID for the
backbone, two at a time with one thread each, and writes results/tuning.csv. Finished trials are found in the cache.
`python benchmarks/tune.py quant mbquant --backbone caser` does a part. For other windows:
`python benchmarks/tune.py chord full --set model.window=5 --set train.epochs=40 --grid 0.003,0.1 0.003,0.3 --out X.csv`
"""

import argparse
import multiprocessing
from itertools import product
from pathlib import Path

import pandas as pd

from chord_fl.baselines import BASELINES
from chord_fl.cloud.checkpoint import CURVE_FILE
from chord_fl.config import make_config
from chord_fl.models.spec import BACKBONES
from chord_fl.trees import overlay
from chord_fl.tuning import GRID
from simulations import prepare

METHODS = ("full", "chord", *BASELINES)
KEYS = ["backbone", "method", "window", "learning_rate", "dropout"]


def trial(job: tuple[str, str, tuple[float, float], dict[str, str]]) -> dict[str, object]:
    """Train one setting, and what it reached."""
    backbone, method, (rate, dropout), changes = job
    train = {"learning_rate": rate, "dropout": dropout}
    config = make_config(overlay({"model": {"backbone": backbone}, "train": train}, changes))
    curve = pd.read_csv(prepare.trained(config, method).folder / CURVE_FILE)
    best = curve.loc[curve["ndcg@10"].idxmax()]
    figures = {name: best[name] for name in ("epoch", "ndcg@10", "hr@10", "ndcg@10_stranger")}
    return {"backbone": backbone, "method": method, "window": config.model.window, **train, **figures}


def pair(text: str) -> tuple[float, float]:
    """Learning rate and dropout, as `--grid` has them."""
    rate, dropout = text.split(",")
    return float(rate), float(dropout)


def main() -> None:
    """Run the trials, print each as it ends, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="*", default=METHODS)
    parser.add_argument("--backbone", choices=BACKBONES)
    parser.add_argument("--grid", nargs="*", type=pair, help="RATE,DROPOUT in place of the backbone's grid")
    parser.add_argument("--set", action="append", default=[], help="KEY=VALUE of the configuration")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("results/tuning.csv"))
    options = parser.parse_args()
    backbones = [options.backbone] if options.backbone else BACKBONES
    changes = dict(change.split("=", 1) for change in options.set)
    pairs = {b: options.grid or GRID[b] for b in backbones}
    jobs = [(b, m, rates, changes) for b, m in product(backbones, options.methods) for rates in pairs[b]]
    rows = []
    with multiprocessing.get_context("spawn").Pool(options.jobs) as pool:
        for row in pool.imap(trial, jobs):
            rows.append(row)
            print(", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()), flush=True)
    table = pd.DataFrame(rows)
    if options.out.exists():  # a part: the other trials stay
        table = pd.concat([pd.read_csv(options.out), table]).drop_duplicates(KEYS, keep="last")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    table.sort_values(KEYS).round(6).to_csv(options.out, index=False)
    chosen = table.loc[table.groupby(KEYS[:3])["ndcg@10"].idxmax()]
    print(chosen.to_string(index=False))


if __name__ == "__main__":
    main()
