"""Try an idea that could make CHORD more personal: train a variant of it, and measure own and strangers' plans.

`python benchmarks/ideas.py "switchable biases" --window 5 --wpc 4 --bias 1` trains one variant on ML-100K, prints its
figures after every other epoch and appends those of the best epoch to results/personalisation/ideas.csv:

settings             what differs from the defaults that `--help` shows
epoch                with the best ndcg@10, of those that were measured
ndcg@10              full ranking under the user's own plan, seen items kept
ndcg@10_stranger     under somebody else's plan (with --resid, profile too), mean over three assignments
loss, loss_stranger  mean log-loss of the held-out item under these plans
plan_difference      share of channels in which two users' plans differ
minutes              of training and measuring

All of it is validation, on each user's second last item: the test item is never read. The full-precision model has no
plans, hence no stranger. The best epoch is chosen on these same figures, and a standard error of ndcg@10 is about
0.006: only patterns over several runs count.
"""

import argparse
import dataclasses
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from variants import Options, Variant

from chord_fl.cloud import examples
from chord_fl.cloud.examples import Batch
from chord_fl.cloud.model import FullPrecision
from chord_fl.cloud.validation import Split, split
from chord_fl.config import make_config
from chord_fl.data import dataset
from chord_fl.data.interactions import Interactions, training_part
from chord_fl.metrics import means, plan_difference, rank_of, strangers
from chord_fl.models import caser, layouts
from chord_fl.models.spec import ModelSpec

DIM = 64
LADDER = (2, 4, 6, 8)
TRAIN_USERS, VALIDATION_USERS, CHUNK = 5000, 2000, 256  # as in chord_fl.cloud.training
STRANGERS = 3
FILTERS = layouts.CASER_FILTERS, layouts.CASER_VERTICAL
OUT = Path("results/personalisation/ideas.csv")


def build(items: int, options: Options) -> Variant | FullPrecision:
    """A fresh model; the seed decides its frozen weights and, through torch's generator, all others."""
    for module in (layouts, caser):
        vars(module).update(CASER_FILTERS=FILTERS[0] * options.wide, CASER_VERTICAL=FILTERS[1] * options.wide)
    shape = (options.blocks, DIM, options.window, options.history)
    spec = ModelSpec(options.backbone, items, *shape, LADDER, options.seed, options.scale)
    torch.manual_seed(options.seed)
    return FullPrecision(spec, options.drop) if options.method == "full" else Variant(spec, options)


def make_optimiser(model: Variant | FullPrecision, options: Options) -> torch.optim.Optimizer:
    """Adam with rates of their own for hypernetworks and tables."""
    fast: list[nn.Parameter] = []
    tables: list[nn.Parameter] = []
    if isinstance(model, Variant):
        fast, tables = list(model.importance.parameters()), [*model.bias_tables, *model.gain_tables, *model.post_tables]
    chosen = {id(parameter) for parameter in fast + tables}
    rest = [parameter for parameter in model.parameters() if parameter.requires_grad and id(parameter) not in chosen]
    rates = [(rest, 1.0), (fast, options.hr), (tables, options.tlr)]
    return torch.optim.Adam([{"params": group, "lr": options.lr * times} for group, times in rates if group])


def decay(optimiser: torch.optim.Optimizer, epoch: int, epochs: int) -> None:
    """Set the rates of an epoch: half a cosine, down to 5 %."""
    share = 0.05 + 0.95 * 0.5 * (1 + np.cos(np.pi * (epoch - 1) / epochs))
    for group in optimiser.param_groups:
        group["lr"] = group.setdefault("first_lr", group["lr"]) * share


def cool(model: Variant | FullPrecision, epoch: int, options: Options) -> None:
    """Set the temperature of an epoch."""
    if isinstance(model, Variant):
        model.temperature = options.temp * options.cool ** ((epoch - 1) / max(options.epochs - 1, 1))


@torch.no_grad()
def average(averaged: nn.Module, model: nn.Module, decay: float) -> None:
    """Move `averaged` towards `model` by a share of 1 - `decay`: what is a real number; counts are copied."""
    for mean, now in zip(averaged.state_dict().values(), model.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(now, 1 - decay)
        else:
            mean.copy_(now)


def next_item_loss(model: Variant | FullPrecision, states: Tensor, batch: Batch) -> Tensor:
    """Mean log-loss of the targets that are due."""
    return F.cross_entropy(model.backbone.score(states[batch.due])[:, 1:], batch.targets[batch.due] - 1)


def taste_loss(model: Variant, taste: Tensor, batch: Batch) -> Tensor:
    """Mean log-loss of all targets of a cut when `taste` [B, d], a profile or what a plan says, scores the items."""
    targets = batch.targets.view(len(taste), -1)
    logits = model.backbone.score(taste)[:, 1:].log_softmax(-1)
    due = targets > 0
    return -((logits.gather(1, (targets - 1).clamp(min=0)) * due).sum() / due.sum())


def training_loss(model: Variant | FullPrecision, batch: Batch, options: Options) -> Tensor:
    """The loss of a batch with all that the options add to it."""
    if not isinstance(model, Variant):
        return next_item_loss(model, model(batch.history, batch.windows), batch)
    profiles = model.profiles(batch.history)
    own = model.plan(profiles)
    loss = next_item_loss(model, model.states(profiles, own.codes, own.gates, batch.windows), batch)
    if options.aux:
        loss = loss + options.aux * taste_loss(model, profiles, batch)
    if options.paux:
        loss = loss + options.paux * taste_loss(model, model.read(*own), batch)
    if options.margin:
        profiles = model.profiles(batch.history)
        codes, gates = (part.roll(1, 0) for part in model.plan(profiles))  # that of the neighbour in the batch
        other = next_item_loss(model, model.states(profiles, codes, gates, batch.windows), batch)
        loss = loss + options.margin * F.softplus((loss - other) * 10) / 10
    return loss


def one_epoch(
    model: Variant | FullPrecision,
    optimiser: torch.optim.Optimizer,
    known: Interactions,
    epoch: int,
    options: Options,
    averaged: Variant | FullPrecision | None,
) -> float:
    """Train for an epoch; the mean loss."""
    torch.manual_seed(options.seed * 1_000_003 + epoch)
    generator = np.random.default_rng([options.seed, epoch])
    model.train()
    if options.dec:
        decay(optimiser, epoch, options.epochs)
    cool(model, epoch, options)
    spec, losses = model.spec, []
    with patch.object(examples, "windows_per_cut", lambda span: options.wpc):
        for _, batch in examples.batches(known, spec.lead, spec.span, spec.history, options.batch, generator):
            if len(batch.history) < 2:
                continue  # batch norm across users needs two of them
            loss = training_loss(model, batch, options)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            if averaged is not None:
                average(averaged, model, options.ema)
            losses.append(float(loss.detach()))
    return float(np.mean(losses))


def ranked(model: Variant | FullPrecision, held: Split, states: Callable[[slice], Tensor]) -> tuple[float, float]:
    """ndcg@10 and mean log-loss of the held-out items, where `states` gives those of some users' windows."""
    ranks, losses = [], []
    for start in range(0, len(held.targets), CHUNK):
        rows = slice(start, start + CHUNK)
        scores = model.backbone.score(states(rows)[:, -1])
        scores[:, 0] = -torch.inf
        ranks.append(rank_of(scores, held.targets[rows]))
        losses.append(F.cross_entropy(scores[:, 1:], held.targets[rows] - 1, reduction="none"))
    return means(torch.cat(ranks).numpy())["ndcg@10"], float(torch.cat(losses).mean())


@torch.inference_mode()
def measured(model: Variant | FullPrecision, held: Split) -> dict[str, float]:
    """The figures of a row, under their names in the table; NaN for what needs plans and has none."""
    model.eval()
    if not isinstance(model, Variant):
        own = ranked(model, held, lambda rows: model(held.history[rows], held.windows[rows]))
        others, difference = [(float("nan"), float("nan"))], float("nan")
    else:
        profiles = torch.cat([model.profiles(part) for part in held.history.split(CHUNK)])
        codes = model.codes(profiles)

        def under(owners: Tensor) -> tuple[float, float]:
            def states(rows: slice) -> Tensor:
                return model.states(profiles[owners[rows]], codes[owners[rows]], None, held.windows[rows])

            return ranked(model, held, states)

        own = under(torch.arange(len(codes)))
        others = [under(torch.from_numpy(strangers(len(codes), turn))) for turn in range(STRANGERS)]
        difference = plan_difference(codes.numpy())
    accuracy, loss = (float(np.mean(values)) for values in zip(*others, strict=True))
    return {
        "ndcg@10": own[0],
        "ndcg@10_stranger": accuracy,
        "loss": own[1],
        "loss_stranger": loss,
        "plan_difference": difference,
    }


def tried(options: Options) -> dict[str, Any]:
    """Train a variant, with early stop, and print what each measurement finds; the best, with epoch and minutes."""
    config = make_config({"seed": options.seed, "data": {"name": options.data, "devices": options.users or None}})
    source = dataset.load(config.data, options.seed)
    everybody = source.slice(0, min(source.users, TRAIN_USERS))
    known = training_part(everybody)
    held = split(everybody.rows(0, min(everybody.users, VALIDATION_USERS)), 1, options.window, options.history)
    model = build(source.items, options)
    optimiser = make_optimiser(model, options)
    averaged = build(source.items, options) if options.ema else None  # begins as the model does
    best: dict[str, Any] = {}
    started = time.perf_counter()
    for epoch in range(1, options.epochs + 1):
        loss = one_epoch(model, optimiser, known, epoch, options, averaged)
        if epoch % options.every and epoch != options.epochs:
            continue
        found = measured(model if averaged is None else averaged, held)
        better = not best or found["ndcg@10"] > best["ndcg@10"]
        best = {"epoch": epoch, **found} if better else best
        figures = " ".join(f"{name} {value:.4f}" for name, value in found.items())
        print(f"epoch {epoch:3} trained to {loss:.3f}: {figures}{' *' if better else ''}", flush=True)
        if epoch - best["epoch"] >= options.patience:
            break
    return {**best, "minutes": (time.perf_counter() - started) / 60}


def row(idea: str, options: Options, found: dict[str, Any]) -> dict[str, Any]:
    """A row of the table: the idea, what was changed for it, what was found, and the command that repeats it."""
    changed = {name: f"{v:g}" if isinstance(v, float) else str(v) for name, v in options.changed().items()}
    flags = [word for name, value in changed.items() for word in (f"--{name}", value)]
    return {
        "idea": idea,
        "settings": " ".join(f"{name}={value}" for name, value in changed.items()),
        **found,
        "command": shlex.join(["python", "benchmarks/ideas.py", idea, *flags]),
    }


def main() -> None:
    """Try the idea of the command line, and append its row to the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("idea", help="its name in the table")
    parser.add_argument("--out", type=Path, default=OUT, help=f"CSV to append to ({OUT})")
    for field in dataclasses.fields(Options):
        text, choices = f"{field.metadata['help']} (%(default)s)", field.metadata["choices"]
        parser.add_argument(
            f"--{field.name}", type=type(field.default), default=field.default, choices=choices, help=text
        )
    given = vars(parser.parse_args())
    idea, out = given.pop("idea"), given.pop("out")
    options = Options(**given)
    if conflict := options.conflict():
        parser.error(conflict)
    torch.set_num_threads(1)
    table = pd.DataFrame([row(idea, options, tried(options))])
    out.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(out, mode="a", header=not out.exists(), index=False, float_format="%.4f")
    print(table.drop(columns="command").to_string(index=False))


if __name__ == "__main__":
    main()
