"""A data set by configuration: how many users and items, and any range of users on demand."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import platformdirs

from chord_fl.config import DataConfig
from chord_fl.data import synthetic
from chord_fl.data.events import Events, sequences
from chord_fl.data.interactions import Interactions
from chord_fl.data.movielens import movielens_100k
from chord_fl.data.tables import read_table
from chord_fl.errors import DataError

DEFAULT_DEVICES = 10_000  # of a synthetic population
_CHUNK = 5_000


@dataclass(frozen=True, eq=False)
class Dataset:
    """Users 0 .. users - 1 and a catalogue of items 1 .. items.

    slice: (first, count) -> Interactions of users first .. first + count - 1. Its work does not grow with `users`.
    Raises ValueError for a range that is not within the users.
    """

    name: str
    users: int
    items: int
    slice: Callable[[int, int], Interactions]


@dataclass(frozen=True)
class Statistics:
    """Counts of a data set; density is the share of the users-by-items matrix that the interactions fill."""

    users: int
    items: int
    interactions: int
    density: float


def load(config: DataConfig, seed: int = 0) -> Dataset:
    """The data set that the configuration names. The seed matters to a synthetic population only.

    With `config.devices` below the users of a file, the first so many users are taken; the catalogue stays whole.
    Raises DataError, one line each, for data that cannot be obtained, read or used.
    """
    if config.name == "synthetic":
        users = config.devices or DEFAULT_DEVICES
        catalogue = synthetic.make_catalogue(config.items, seed)
        rows = partial(synthetic.generate, catalogue)
        return Dataset(config.name, users, config.items, partial(_within, users, rows))
    source, events = _events(config)
    interactions, items = sequences(events, config.core)
    if not interactions.users:
        raise DataError(
            f"nothing of the {len(events.users)} interactions in {source} is left after the {config.core}-core filter: "
            "lower data.core, or bring more data"
        )
    users = config.devices or interactions.users
    if users > interactions.users:
        raise DataError(
            f"data.devices is {users}, but {source} has only {interactions.users} users after the {config.core}-core "
            f"filter: ask for at most {interactions.users}"
        )
    return Dataset(config.name, users, items, partial(_within, users, interactions.rows))


def statistics(dataset: Dataset) -> Statistics:
    """Count the interactions, a chunk of users at a time, so that memory stays bounded for any population."""
    firsts = range(0, dataset.users, _CHUNK)
    total = sum(len(dataset.slice(first, min(_CHUNK, dataset.users - first)).items) for first in firsts)
    return Statistics(dataset.users, dataset.items, total, total / (dataset.users * dataset.items))


def _events(config: DataConfig) -> tuple[str, Events]:
    """What the source is called, and its events."""
    path = None if config.path is None else Path(config.path).expanduser()
    if config.name == "ml-100k":
        home = Path(config.data_dir or platformdirs.user_cache_path("chord-fl") / "data").expanduser()
        return "MovieLens-100K", movielens_100k(path, home / "ml-100k")
    if path is None:
        raise DataError("data.path is required when data.name is csv")
    return str(path), read_table(path, config.user_column, config.item_column, config.time_column)


def _within(users: int, rows: Callable[[int, int], Interactions], first: int, count: int) -> Interactions:
    if first < 0 or count < 0 or first + count > users:
        raise ValueError(f"users {first} .. {first + count - 1} asked for, of 0 .. {users - 1}")
    return rows(first, count)
