"""What has to exist before a run: its folder, the checkpoint (trained here if there is none), the shipment, the record.

Everything that can be wrong with a configuration is found here, before any work.
"""

import hashlib
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import platformdirs

from chord_fl.cloud import checkpoint
from chord_fl.cloud.checkpoint import Trained
from chord_fl.cloud.training import Epoch, train
from chord_fl.config import Config
from chord_fl.data import dataset
from chord_fl.data.dataset import Dataset
from chord_fl.data.interactions import Interactions, earlier
from chord_fl.device.population import traits
from chord_fl.errors import CheckpointError, ChordError, ConfigError
from chord_fl.report.record import Record
from chord_fl.trees import write_toml
from simulations.locks import lock
from simulations.population import check_population
from strategies import loading
from strategies.base import DeviceStrategy, Shipment
from strategies.hosted import Hosted

_CHUNK = 10_000  # users whose sequences are held at a time


@dataclass(frozen=True)
class Progress:
    """Who wants to know how training goes."""

    on_start: Callable[[Path, bool], None] = lambda folder, resumes: None
    on_epoch: Callable[[Epoch], None] = lambda epoch: None
    on_batch: Callable[[int, int], None] = lambda done, total: None  # batches of the epoch
    on_wait: Callable[[str], None] = lambda holder: None  # another process trains the same; its number


SILENT = Progress()


def strategy_class(config: Config) -> type[DeviceStrategy]:
    """The strategy that the configuration names, or the host of one that knows only Flower. Raises ConfigError."""
    kind = loading.load(config.strategy)
    return kind if issubclass(kind, DeviceStrategy) else Hosted


def check(config: Config) -> Dataset:
    """Refuse what cannot work, and return the data set. Raises ChordError (one line)."""
    strategy_class(config)
    if config.train.device != "cpu":
        import torch

        number = int(config.train.device.partition(":")[2] or 0)
        if number >= torch.cuda.device_count():
            allowed = ", ".join(["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))])
            raise ConfigError(f"train.device = {config.train.device!r}: no such device here; allowed: {allowed}")
    found = dataset.load(config.data, config.seed)
    if config.simulation.candidates >= found.items:
        raise ConfigError(
            f"simulation.candidates = {config.simulation.candidates}: the catalogue has only {found.items} items"
        )
    if config.simulation.devices_per_node > found.users:
        raise ConfigError(
            f"simulation.devices_per_node = {config.simulation.devices_per_node}: there are only {found.users} devices"
        )
    loading.check(config, found.users)
    check_population(config, found.users)
    return found


def default_folder(name: str) -> Path:
    """Where a run goes that was told nothing else: `runs/TIME-NAME` below the current folder."""
    return Path("runs") / f"{time.strftime('%Y%m%d-%H%M%S')}-{name}"


def make_folder(folder: Path) -> Path:
    """Create the folder of a run. Raises ConfigError if it cannot be written or holds another run."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".writable").touch()
        (folder / ".writable").unlink()
    except OSError as error:
        raise ConfigError(f"--out {folder}: cannot be written ({error.strerror})") from error
    if (folder / "summary.json").exists() or (folder / "compare.csv").exists():
        raise ConfigError(f"--out {folder}: holds the results of another run; choose another folder")
    return folder


def checkpoint_folder(config: Config, method: str) -> Path:
    """Where the checkpoint of `method` for this configuration lives."""
    if config.train.checkpoint:
        given = Path(config.train.checkpoint).expanduser()
        # one path serves both methods, so that `compare` can be given one
        return given if (given / checkpoint.CONFIG_FILE).exists() else given / method
    return platformdirs.user_cache_path("chord-fl") / "checkpoints" / config.training_key(method)


def check_checkpoint(config: Config) -> None:
    """Raise ChordError unless the checkpoint that `config` needs is absent, or was begun under this configuration."""
    method = strategy_class(config).method
    folder = checkpoint_folder(config, method)
    if strategy_class(config).learns and (folder / checkpoint.CONFIG_FILE).exists():
        checkpoint.check_config(folder, config, method)


def is_trained(config: Config, method: str) -> bool:
    """Whether the checkpoint of `method` is there and finished."""
    return checkpoint.is_finished(checkpoint_folder(config, method))


def best_epoch(folder: Path) -> dict[str, float]:
    """The best row of a checkpoint's training curve: what was measured in it, by name."""
    rows = pd.read_csv(folder / checkpoint.CURVE_FILE).to_dict("records")
    best = max(rows, key=lambda row: row["ndcg@10"])
    return {str(name): best[name] for name in best if name not in ("best", "seconds") and best[name] == best[name]}


def trained(config: Config, method: str, progress: Progress = SILENT) -> Trained:
    """The checkpoint of `method`, trained now (or further, if it was interrupted) where there is none.

    While another process trains the same, wait for it. The catalogue does not depend on the number of devices, so
    neither does the checkpoint.
    """
    source = config.data.model_copy(update={"devices": _training_users(config)})
    known = dataset.load(source, config.seed)

    def users() -> Interactions:
        # as they were at the first session: its target is the last item, as it is of whole sequences in leave-one-out
        return earlier(known.slice(0, min(known.users, config.train.train_users)), config.life.sessions - 1)

    if not strategy_class(config).learns:
        return strategy_class(config).fit(config, users(), known.items)
    folder = checkpoint_folder(config, method)
    if checkpoint.is_finished(folder):
        return checkpoint.load(folder, config, method, known.items)
    with ExitStack() as held:
        try:
            held.enter_context(lock(folder, progress.on_wait))
        except OSError as error:
            raise CheckpointError(f"checkpoint {folder} cannot be written ({error.strerror})") from error
        if checkpoint.is_finished(folder):  # meanwhile, by that process
            return checkpoint.load(folder, config, method, known.items)
        progress.on_start(folder, (folder / checkpoint.CURVE_FILE).exists())
        return train(config, users(), known.items, method, folder, progress.on_epoch, progress.on_batch)


def _training_users(config: Config) -> int | None:
    """The `data.devices` to train with: all users of a data set of fixed size, as many as it takes of any other."""
    return config.train.train_users if config.data.name == "synthetic" else None


def phones_table(config: Config, devices: int) -> pd.DataFrame:
    """Who takes part, a row per device: device, ram_gb and memory_bytes (NaN where unknown), score, history.

    `history` is the number of items that its user's log holds.
    """
    found, phones = dataset.load(config.data, config.seed), traits(config.population.source, config.seed, 0, devices)
    starts = range(0, devices, _CHUNK)
    lengths = [found.slice(first, min(_CHUNK, devices - first)).lengths for first in starts]
    traits_ = {name: getattr(phones, name) for name in ("ram_gb", "memory_bytes", "score")}
    return pd.DataFrame({"device": np.arange(devices), **traits_, "history": np.concatenate(lengths)})


def strategy(config: Config, model: Trained, devices: int, folder: Path, nodes: int | None) -> DeviceStrategy:
    """The strategy of a run, with its shipment and its record in `folder`."""
    if devices < 1:
        raise ChordError("there are no devices to simulate")
    kind = strategy_class(config)
    payload = kind.pack_shipment(config, model)
    path = folder.absolute() / "shipment.safetensors"
    path.write_bytes(payload)
    shipment = Shipment(payload, hashlib.sha256(payload).hexdigest(), path, kind.matrix_bytes(config, model))
    write_toml(folder / "config.toml", config.model_dump())
    phones_table(config, devices).to_parquet(folder / "phones.parquet", index=False)
    facts = {
        "strategy": config.strategy_label,
        "dataset": config.data.name,
        "backbone": config.model.backbone,
        "seed": config.seed,
        "sessions": config.life.sessions,
        "refresh": config.life.refresh,
        "seen": config.simulation.seen,
        "candidates": config.simulation.candidates,
        "population": Path(config.population.source).name,
        "constrain": config.population.constrain,
        "param_mbit": round(kind.param_mbit(config, model.model.spec.layout), 10),
        "checkpoint": str(model.folder) if kind.learns else "",
    }
    return kind(config, model, shipment, Record(folder, facts, devices), nodes)
