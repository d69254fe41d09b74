"""How much could any plan bring? Search plans for users on their own history, and test them on the held-out item.

`python benchmarks/ceiling.py --backbone sasrec --window 5` trains CHORD where there is no checkpoint, draws users, and
compares, with one trained model and the same users:

own        the plan of the hypernetworks
stranger   somebody else's, mean over three assignments
cluster    one plan for each of 16 clusters of profiles (k-means), from the mean importance of its members
common     one plan for everybody, searched to maximise the likelihood of everybody's history
uniform2   every channel at the lowest width of the ladder; uniform4 at the second
searched   a plan for each user, searched to maximise the likelihood of that user's own history: straight-through
           gradient from the hypernetworks' scores, the best hard plan on the way, then random exchanges of codes
           within layers that are kept where the likelihood rises
stopped    the same gradient, ended after the step that is best for the last known item of a history without it (one
           number of steps for all users, 0 is the hypernetworks' own plan): a search that must not memorise

No search sees the test item. `history` is the mean log-loss per item on the history that was searched on; `test` is the
log-loss of the test item; ndcg@10 and hr@10 are of the full ranking with seen items kept.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from chord_fl.cloud.model import ChordModel
from chord_fl.cloud.plan import plan
from chord_fl.cloud.validation import Split, split
from chord_fl.config import make_config
from chord_fl.device.finetuning import next_item_windows
from chord_fl.metrics import means, plan_difference, rank_of, strangers
from chord_fl.models.spec import BACKBONES
from chord_fl.trees import overlay
from simulations import prepare

CHUNK = 64
CLUSTERS = 16


def losses(model: ChordModel, states: Tensor, targets: Tensor) -> Tensor:
    """Log-loss of `targets` [..., T] under `states` [..., T, d]; 0 where none is due."""
    logits = model.backbone.score(states)[..., 1:]
    found = F.cross_entropy(logits.flatten(0, -2), (targets - 1).clamp(min=0).flatten(), reduction="none")
    return found.reshape(targets.shape) * (targets > 0)


class Histories:
    """Users' known items, as windows and the items that follow: what a search may use."""

    def __init__(self, model: ChordModel, history: Tensor) -> None:
        spec = model.spec
        windows, targets = next_item_windows(history, spec.lead, spec.span)
        targets = targets * (windows[:, spec.lead :] > 0)
        self.model, self.history, self.users = model, history, len(history)
        self.windows = windows.reshape(self.users, -1, windows.shape[1])
        self.targets = targets.reshape(self.users, -1, targets.shape[1])

    def loss(self, rows: slice, codes: Tensor, gates: Tensor | None = None) -> Tensor:
        """Mean log-loss per item of each user in `rows` under plans `codes` [B, C], [B]."""
        windows, targets = self.windows[rows].flatten(0, 1), self.targets[rows]
        states = self.model.with_plan(codes, gates, windows)
        total = losses(self.model, states, targets.flatten(0, 1)).reshape(len(targets), -1).sum(1)
        return total / (targets > 0).flatten(1).sum(1).clamp(min=1)

    def chunks(self) -> list[slice]:
        """The users, a few at a time."""
        return [slice(start, min(start + CHUNK, self.users)) for start in range(0, self.users, CHUNK)]


def descent(
    known: Histories, rows: slice, scores: Tensor, layers: Tensor | None, steps: int, rate: float
) -> Iterator[tuple[Tensor, Tensor]]:
    """Plans [B, C] of the users in `rows` and their losses [B], before each of `steps` steps of the gradient."""
    model = known.model
    free = [part[rows].clone().requires_grad_() for part in (scores, layers) if part is not None]
    optimiser = torch.optim.Adam(free, lr=rate)
    for _ in range(steps):
        codes, gates = plan(free[0], free[1] if layers is not None else None, model.spec.layout, model.beta, 0.3)
        loss = known.loss(rows, codes, gates)
        yield codes, loss.detach()
        optimiser.zero_grad()
        loss.sum().backward()
        optimiser.step()


def stopped(model: ChordModel, before: Split, known: Histories, steps: int, rate: float) -> Tensor:
    """A plan for each user, [U, C] uint8, after as many steps as are best for the targets of `before`."""
    earlier = Histories(model, before.history)
    scores, layers = model.importance(model.encoder(before.history, model.backbone.items))
    after = torch.zeros(steps)
    for rows in earlier.chunks():
        for step, (codes, _) in enumerate(descent(earlier, rows, scores, layers, steps, rate)):
            states = model.with_codes(codes, before.windows[rows])[:, -1:]
            after[step] += float(losses(model, states, before.targets[rows, None]).sum()) / earlier.users
    best = int(after.argmin())
    print(
        f"stopped after {best} steps, {float(after[best]):.4f} on the last known item; after none {float(after[0]):.4f}"
    )
    scores, layers = model.importance(model.encoder(known.history, model.backbone.items))
    return torch.cat([list(descent(known, rows, scores, layers, best + 1, rate))[-1][0] for rows in known.chunks()])


def searched(
    known: Histories, scores: Tensor, layers: Tensor | None, steps: int, generations: int, rate: float
) -> Tensor:
    """A plan for each user, [U, C] uint8, searched from the hypernetworks' scores [U, C] and layer scores [U, L]."""
    model = known.model
    found = []
    generator = torch.Generator().manual_seed(0)
    for rows in known.chunks():
        best_loss, best = None, None
        for codes, loss in descent(known, rows, scores, layers, steps, rate):
            best_loss, best = _keep(loss, codes, best_loss, best)
        with torch.inference_mode():
            for _ in range(generations):
                child = _exchanged(best, model.spec.layout.widths, generator)
                best_loss, best = _keep(known.loss(rows, child), child, best_loss, best)
        found.append(best)
    return torch.cat(found)


def _keep(loss: Tensor, codes: Tensor, best_loss: Tensor | None, best: Tensor | None) -> tuple[Tensor, Any]:
    """Per user the better of two plans."""
    if best_loss is None or best is None:
        return loss, codes
    better = loss < best_loss
    return torch.where(better, loss, best_loss), torch.where(better[:, None], codes, best)


def _exchanged(codes: Tensor, widths: list[int], generator: torch.Generator) -> Tensor:
    """`codes` [B, C] in which, in every layer with probability 1/4, two channels have exchanged their codes."""
    child, first = codes.clone(), 0
    for width in widths:
        pair = first + torch.randint(width, (len(codes), 2), generator=generator)
        chosen = torch.rand(len(codes), generator=generator) < 0.25
        swapped = torch.where(chosen[:, None], pair.flip(1), pair)
        child.scatter_(1, pair, codes.gather(1, swapped))
        first += width
    return child


def common(known: Histories, scores: Tensor, layers: Tensor | None, steps: int, rate: float) -> Tensor:
    """One plan [1, C] for all users: gradient on the mean of their losses, the best hard plan on the way."""
    model = known.model
    free = [part.mean(0, keepdim=True).requires_grad_() for part in (scores, layers) if part is not None]
    optimiser = torch.optim.Adam(free, lr=rate)
    best, least = None, float("inf")
    for _ in range(steps):
        optimiser.zero_grad()
        total = 0.0
        for rows in known.chunks():
            codes, gates = plan(free[0], free[1] if layers is not None else None, model.spec.layout, model.beta, 0.3)
            size = rows.stop - rows.start
            loss = known.loss(rows, codes.expand(size, -1), gates.expand(size, -1, -1)).sum() / known.users
            loss.backward()
            total += float(loss.detach())
        if total < least:
            best, least = codes, total
        optimiser.step()
    assert best is not None
    return best


@torch.inference_mode()
def clustered(model: ChordModel, profiles: Tensor, scores: Tensor, layers: Tensor | None) -> Tensor:
    """Plans [U, C] from the mean importance of the user's cluster of profiles (k-means, 50 steps)."""
    generator = torch.Generator().manual_seed(0)
    centres = profiles[torch.randperm(len(profiles), generator=generator)[:CLUSTERS]]
    for _ in range(50):
        owner = torch.cdist(profiles, centres).argmin(1)
        centres = torch.stack(
            [profiles[owner == k].mean(0) if bool((owner == k).any()) else centres[k] for k in range(len(centres))]
        )

    def of_cluster(values: Tensor) -> Tensor:
        means_ = [values[owner == k].mean(0) if bool((owner == k).any()) else values[0] for k in range(len(centres))]
        return torch.stack(means_)[owner]

    shared = None if layers is None else of_cluster(layers)
    return plan(of_cluster(scores), shared, model.spec.layout, model.beta, 0.3).codes


@torch.inference_mode()
def measured(model: ChordModel, known: Histories, held: Split, codes: Tensor) -> dict[str, Any]:
    """Accuracy of plans [U, C], and what they are like."""
    ranks, test, history = [], [], []
    for rows in known.chunks():
        states = model.with_codes(codes[rows], held.windows[rows])[:, -1:]
        test.append(losses(model, states, held.targets[rows, None])[:, 0])
        scores = model.backbone.score(states[:, 0])
        scores[:, 0] = -torch.inf
        ranks.append(rank_of(scores, held.targets[rows]))
        history.append(known.loss(rows, codes[rows]))
    found = means(torch.cat(ranks).numpy())
    sizes = torch.from_numpy(model.spec.layout.sizes)
    bits = (torch.tensor(model.spec.levels)[codes.long()] * sizes).sum(1) / sizes.sum()
    return {
        "ndcg@10": found["ndcg@10"],
        "hr@10": found["hr@10"],
        "test": float(torch.cat(test).mean()),
        "history": float(torch.cat(history).mean()),
        "bits": float(bits.mean()),
        "plan_difference": plan_difference(codes.numpy()),
        "ranks": torch.cat(ranks).numpy(),
    }


def main() -> None:
    """Train or find the checkpoint, search, and print a row per kind of plan."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", choices=BACKBONES, default="sasrec")
    parser.add_argument("--window", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dataset", default="ml-100k")
    parser.add_argument("--users", type=int, default=320, help="how many to search plans for")
    parser.add_argument("--steps", type=int, default=40, help="of the gradient")
    parser.add_argument("--generations", type=int, default=100, help="of exchanges")
    parser.add_argument("--rate", type=float, default=0.02, help="of the gradient whose steps are counted (stopped)")
    parser.add_argument("--plans", nargs="*", default=[], help="only these; default: all")
    parser.add_argument("--set", action="append", default=[], help="KEY=VALUE of the configuration")
    parser.add_argument("--out", type=Path, help="CSV to append to")
    options = parser.parse_args()
    torch.set_num_threads(1)
    tree = overlay({}, {"seed": options.seed, "data.name": options.dataset, "model.backbone": options.backbone})
    changes: dict[str, Any] = dict(pair.split("=", 1) for pair in options.set)
    if options.window:
        changes["model.window"] = options.window
    config = make_config(overlay(tree, changes))
    data = prepare.check(config)
    model: ChordModel = prepare.trained(config, "chord").model
    everybody = data.slice(0, data.users)
    chosen = np.sort(np.random.default_rng([config.seed, 7]).permutation(data.users)[: options.users])
    shape = config.model.window, config.model.history
    held = Split(*(part[torch.from_numpy(chosen)] for part in split(everybody, 0, *shape)))
    before = Split(*(part[torch.from_numpy(chosen)] for part in split(everybody, 1, *shape)))
    known = Histories(model, held.history)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    profiles = model.encoder(held.history, model.backbone.items)
    scores, layers = model.importance(profiles)
    own = model.codes(profiles)
    plans: dict[str, Callable[[], Tensor]] = {
        "own": lambda: own,
        "cluster": lambda: clustered(model, profiles, scores, layers),
        "common": lambda: common(known, scores, layers, options.steps, 0.1).expand(len(own), -1),
        "uniform2": lambda: torch.zeros_like(own),
        "uniform4": lambda: torch.ones_like(own),
        "searched": lambda: searched(known, scores, layers, options.steps, options.generations, 0.1),
        "stopped": lambda: stopped(model, before, known, options.steps, options.rate),
    }
    for turn in range(3):
        other = torch.from_numpy(strangers(len(own), turn))
        plans[f"stranger{turn}"] = lambda other=other: own[other]  # type: ignore[misc]
    plans = {name: make for name, make in plans.items() if not options.plans or name in options.plans}
    lengths = torch.from_numpy(everybody.lengths[chosen])
    rows = []
    for name, make in plans.items():
        found = measured(model, known, held, make())
        ranks = found.pop("ranks")
        gain = np.where((ranks >= 1) & (ranks <= 10), 1 / np.log2(ranks + 1.0), 0.0)
        longer = (lengths > lengths.median()).numpy()
        halves = {"ndcg@10_short": gain[~longer].mean(), "ndcg@10_long": gain[longer].mean()}
        facts = {"backbone": options.backbone, "window": config.model.window, "seed": config.seed, "plan": name}
        rows.append({**facts, **found, **halves, "users": len(own)})
        figures = ("ndcg@10", "hr@10", "test", "history", "bits", "plan_difference")
        print(f"{name:10}", " ".join(f"{key} {rows[-1][key]:.4f}" for key in figures), flush=True)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        table = pd.DataFrame(rows)
        if options.out.exists():  # another window: its rows stay
            table = pd.concat([pd.read_csv(options.out), table])
            table = table.drop_duplicates(["backbone", "window", "seed", "plan"], keep="last")
        table.round(6).to_csv(options.out, index=False)


if __name__ == "__main__":
    main()
