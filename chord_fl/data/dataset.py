"""A data set by configuration: how many users and items, and any range of users on demand."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import platformdirs

from chord_fl.config import DataConfig
from chord_fl.data import cache, synthetic
from chord_fl.data.events import Events, sequences
from chord_fl.data.interactions import Interactions
from chord_fl.data.lines import OnProgress, silent
from chord_fl.data.sources import SOURCES
from chord_fl.errors import DataError
from chord_fl.imports import imported

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
class Size:
    """How large a population is."""

    users: int
    items: int
    interactions: int


# made-up populations of the size of the paper's data sets (its Table 1)
POPULATIONS = {"cd-like": Size(31_482, 68_307, 867_853), "yelp-like": Size(97_052, 94_279, 2_943_170)}


@dataclass(frozen=True)
class Statistics:
    """Counts of a data set; density is the share of the users-by-items matrix that the interactions fill."""

    users: int
    items: int
    interactions: int
    density: float


def load(config: DataConfig, seed: int = 0, on_progress: OnProgress = silent) -> Dataset:
    """The data set that the configuration names. The seed matters to a made-up population only.

    With `config.devices` below the users of a file, the first so many users are taken; the catalogue stays whole. The
    sequences of a file that takes long to read are kept in the user's cache, or in `config.data_dir`.

    on_progress: (bytes read, bytes in all), now and then, while a review file is read.
    Raises DataError, one line each, for data that cannot be obtained, read or used.
    """
    if config.name == "synthetic":
        catalogue = synthetic.make_catalogue(config.items, seed)
        users = config.devices or DEFAULT_DEVICES
        rows = partial(synthetic.generate, catalogue, hidden=config.taste == "hidden")
        return Dataset(config.name, users, config.items, partial(_within, users, rows))
    if config.name in POPULATIONS:
        size = POPULATIONS[config.name]
        catalogue = synthetic.make_catalogue(size.items, seed)
        lengths = synthetic.exact_lengths(seed, size.users, size.interactions)
        rows = partial(synthetic.generate, catalogue, lengths=lengths)
        users = _taken(config, size.users, config.name)
        return Dataset(config.name, users, size.items, partial(_within, users, rows))
    source, interactions, items = _from_files(config, on_progress)
    users = _taken(config, interactions.users, source, f" after the {config.core}-core filter")
    return Dataset(config.name, users, items, partial(_within, users, interactions.rows))


def statistics(dataset: Dataset, on_progress: OnProgress = silent) -> Statistics:
    """Count the interactions, a chunk of users at a time, so that memory stays bounded for any population.

    on_progress: (users counted, users in all), after each chunk.
    """
    total = 0
    for first in range(0, dataset.users, _CHUNK):
        count = min(_CHUNK, dataset.users - first)
        total += len(dataset.slice(first, count).items)
        on_progress(first + count, dataset.users)
    return Statistics(dataset.users, dataset.items, total, total / (dataset.users * dataset.items))


def _from_files(config: DataConfig, on_progress: OnProgress) -> tuple[str, Interactions, int]:
    """What the source is called, its sequences after the filter, and the number of items."""
    home = Path(config.data_dir or platformdirs.user_cache_path("chord-fl") / "data").expanduser()
    path, source = None if config.path is None else Path(config.path), SOURCES[config.name]
    title = str(path or source.title or config.name)
    # a path to what can be had without one is there to be read and verified
    slow = source.slow and (path is None or source.obtain is not None)
    readable = path is None or path.is_file()  # otherwise it has no identity, and reading says what is wrong
    kept = cache.cache_file(home / "sequences", config.identity()) if slow and readable else None
    found = cache.read(kept) if kept else None
    if found is not None:
        return title, *found
    events: Events = imported(source.read)(config, home, on_progress)
    interactions, items = sequences(events, config.core)
    if not interactions.users:
        raise DataError(
            f"nothing of the {len(events.users)} interactions in {title} is left after the {config.core}-core filter: "
            "lower data.core, or bring more data"
        )
    if kept:
        cache.write(kept, interactions, items)
    return title, interactions, items


def _taken(config: DataConfig, users: int, source: str, note: str = "") -> int:
    """How many of a source's users to take; the first so many."""
    if config.devices and config.devices > users:
        raise DataError(
            f"data.devices is {config.devices}, but {source} has only {users} users{note}: ask for at most {users}"
        )
    return config.devices or users


def _within(users: int, rows: Callable[[int, int], Interactions], first: int, count: int) -> Interactions:
    if first < 0 or count < 0 or first + count > users:
        raise ValueError(f"users {first} .. {first + count - 1} asked for, of 0 .. {users - 1}")
    return rows(first, count)
