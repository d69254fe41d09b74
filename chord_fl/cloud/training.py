"""Training on the cloud: next-item cross-entropy over the whole catalogue, early stop on validation, resumable.

Nothing of an epoch's randomness depends on the epochs before it, so an interrupted training resumes to the same model.
One thread computes it: sums in another order would be another model, so that figures would depend on the number of
cores; for matrices this small two threads gain a quarter, and two trainings side by side more.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from chord_fl.cloud import checkpoint
from chord_fl.cloud.examples import Batch, batches
from chord_fl.cloud.model import ChordModel, CloudModel
from chord_fl.cloud.validation import split, validate
from chord_fl.config import Config
from chord_fl.data.interactions import SHORTEST, Interactions, longer, training_part
from chord_fl.errors import CheckpointError, ChordError

RESUME_FILE = "resume.safetensors"
BEST_FILE = "best.safetensors"
_VALIDATION_USERS = 2000  # enough for a standard error of 0.006 on HR@10, and cheap for any population


@dataclass(frozen=True)
class Epoch:
    """A row of the training curve."""

    epoch: int
    loss: float
    validation: Mapping[str, float]
    best: bool  # the best on validation so far
    seconds: float

    def row(self) -> dict[str, float]:
        """The figures as one flat row of `training.csv`."""
        return {k: v for k, v in asdict(self).items() if k != "validation"} | dict(self.validation)


def train(
    config: Config,
    interactions: Interactions,
    items: int,
    method: str,
    folder: Path,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    on_batch: Callable[[int, int], None] = lambda done, total: None,
) -> checkpoint.Trained:
    """Train `method` ("chord", "full" or a baseline's name) in `folder`, going on from where it was interrupted.

    `interactions` are whole sequences, or what there was of them at the first of several sessions: the last item is
    never touched, the one before it validates, and users with fewer than three are left out of that. `on_batch` is
    called with the epoch's batches, begun and in all, `on_epoch` after validation. Raises CheckpointError if `folder`
    holds another configuration or cannot be written, ChordError if the loss is no longer finite.
    """
    checkpoint.start_folder(folder, config, method)
    with one_thread():
        _train(config, interactions, items, method, folder, on_epoch, on_batch)
    return checkpoint.load(folder, config, method, items)


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread, then on as many as before."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _train(
    config: Config,
    interactions: Interactions,
    items: int,
    method: str,
    folder: Path,
    on_epoch: Callable[[Epoch], None],
    on_batch: Callable[[int, int], None],
) -> None:
    device = torch.device(config.train.device)
    torch.manual_seed(config.seed)
    model = checkpoint.build(config, items, method).to(device)
    optimiser = _optimiser(model, config.rates(method)[0], config.train.hypernetwork_rate)
    curve = _resume(model, optimiser, folder, device)
    known = training_part(interactions)
    validated = longer(interactions.rows(0, min(interactions.users, _VALIDATION_USERS)), SHORTEST)
    if not validated.users:
        raise ChordError(
            f"nothing to validate on: no user has {SHORTEST - 1} interactions before those of the sessions "
            f"(life.sessions = {config.life.sessions}): ask for fewer, or bring longer histories"
        )
    held = split(validated, 1, config.model.window, config.model.history)
    best = max((row for row in curve), key=lambda row: row["ndcg@10"], default=None)
    for epoch in range(len(curve) + 1, config.train.epochs + 1):
        if best is not None and epoch - 1 - best["epoch"] >= config.train.patience:
            break
        started = time.perf_counter()
        loss = _one_epoch(model, optimiser, known, config, epoch, on_batch)
        seconds = time.perf_counter() - started
        validation = validate(model.eval(), held, config.seed, device).to_dict()
        improved = best is None or validation["ndcg@10"] > best["ndcg@10"]
        done = Epoch(epoch, loss, validation, improved, seconds)
        curve.append(done.row())
        if improved:
            best = curve[-1]
            checkpoint.write_tensors(folder / BEST_FILE, model.state_dict())
        # the curve first: a resumption drops rows beyond the epoch in RESUME_FILE, and could not make up missing ones
        _write_curve(folder / checkpoint.CURVE_FILE, curve)
        checkpoint.write_tensors(folder / RESUME_FILE, _resumable(model, optimiser, epoch))
        on_epoch(done)
    (folder / BEST_FILE).replace(folder / checkpoint.MODEL_FILE)
    (folder / RESUME_FILE).unlink(missing_ok=True)


def _one_epoch(
    model: Any,
    optimiser: torch.optim.Optimizer,
    known: Interactions,
    config: Config,
    epoch: int,
    on_batch: Callable[[int, int], None],
) -> float:
    torch.manual_seed(config.seed * 1_000_003 + epoch)
    generator = np.random.default_rng([config.seed, epoch])
    device = torch.device(config.train.device)
    model.train()
    if hasattr(model, "begin_epoch"):  # a schedule of its own
        model.begin_epoch(epoch, config.train.epochs)
    total, count = torch.zeros((), device=device), 0
    spec = model.spec
    epoch_batches = batches(known, spec.lead, spec.span, spec.history, config.train.batch_size, generator)
    for index, (total_batches, batch) in enumerate(epoch_batches, start=1):
        on_batch(index, total_batches)
        if len(batch.history) < 2:
            continue  # batch norm across users needs two of them
        loss = next_item_loss(model, Batch(*(part.to(device) for part in vars(batch).values())))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        total, count = total + loss.detach(), count + 1
    if not count:
        raise ChordError(
            "nothing to train on: every user needs at least four interactions, and there must be two users"
        )
    mean = float(total) / count
    if not np.isfinite(mean):
        raise ChordError(f"training diverged in epoch {epoch} (loss {mean}): lower train.learning_rate")
    return mean


def next_item_loss(model: CloudModel, batch: Batch) -> Tensor:
    """Mean cross-entropy, over the full catalogue, of the targets of a batch.

    A model that is trained at several bit-widths at once offers its passes: the mean over them is the loss.
    """
    passes = getattr(model, "training_passes", lambda *inputs: [model(*inputs)])
    losses = [
        F.cross_entropy(model.backbone.score(states[batch.due])[:, 1:], batch.targets[batch.due] - 1)
        for states in passes(batch.history, batch.windows)
    ]
    return torch.stack(losses).mean()


def _optimiser(model: torch.nn.Module, rate: float, hypernetwork_rate: float) -> torch.optim.Optimizer:
    fast = list(model.importance.parameters()) if isinstance(model, ChordModel) else []
    chosen = {id(parameter) for parameter in fast}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in chosen]
    groups = [{"params": rest, "lr": rate}]
    if fast:
        groups.append({"params": fast, "lr": rate * hypernetwork_rate})
    return torch.optim.Adam(groups)


def _write_curve(path: Path, curve: list[dict[str, float]]) -> None:
    partial = path.with_suffix(".partial")
    pd.DataFrame(curve).to_csv(partial, index=False)
    partial.replace(path)


def _resumable(model: torch.nn.Module, optimiser: torch.optim.Optimizer, epoch: int) -> dict[str, Tensor]:
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for index, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{name}": torch.as_tensor(value) for name, value in state.items()}
    return tensors | {"epoch": torch.tensor(epoch)}


def _resume(
    model: torch.nn.Module, optimiser: torch.optim.Optimizer, folder: Path, device: torch.device
) -> list[dict[str, float]]:
    """Restore what an interrupted run left, and return its curve up to there; empty if there is nothing."""
    path = folder / RESUME_FILE
    if not path.exists():
        return []
    tensors = checkpoint.read_tensors(path)
    try:
        epoch = int(tensors.pop("epoch"))
        curve = pd.read_csv(folder / checkpoint.CURVE_FILE, float_precision="round_trip").to_dict("records")
    except (KeyError, OSError, ValueError) as error:
        raise CheckpointError(f"checkpoint {folder} cannot be resumed ({error}): delete it and train again") from error
    state: dict[int, dict[str, Tensor]] = {}
    weights: dict[str, Tensor] = {}
    for name, value in tensors.items():
        part, _, rest = name.partition(".")
        if part == "model":
            weights[rest] = value
        else:
            index, _, key = rest.partition(".")
            state.setdefault(int(index), {})[key] = value.to(device)
    checkpoint.restore(model, weights, folder)
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
    return [{str(key): value for key, value in row.items()} for row in curve[:epoch]]
