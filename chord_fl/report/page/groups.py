"""Which runs may be compared, and what each is called.

group(runs) -> list[Group]      runs of the same conditions, in series that differ in nothing but the seed

Conditions are what was measured: data, population, clock, faults, protocol, rounds. Everything else in a configuration,
the seed apart, is what is compared. How a run was executed (workers, folders) is neither.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chord_fl.config import make_config
from chord_fl.report.labels import proper
from chord_fl.report.page.palette import Style, styles
from chord_fl.report.page.runs import Run

_CONDITIONS = (
    *("data", "population", "clock", "faults", "devices", "rounds"),
    *("simulation.rounds", "simulation.candidates", "simulation.seen", "life.sessions"),
)
_EXECUTION = (
    *("seed", "data.data_dir", "data.devices", "train.device", "train.checkpoint"),  # `devices`: those there were
    *("simulation.workers", "simulation.devices_per_node", "simulation.timeout"),
)
_OWN_SECTIONS = ("static", "finetune")  # of these strategies: none of the others of this package reads them
_OPTIONS = "strategy_options"
# what a summary says of the configuration, for runs whose config.toml is lost
_IN_SUMMARY = {
    "dataset": "data.name",
    "sessions": "life.sessions",
    "seen": "simulation.seen",
    "candidates": "simulation.candidates",
    "population": "population.source",
    "constrain": "population.constrain",
    "backbone": "model.backbone",
    "refresh": "life.refresh",
}
_LONGEST = 48  # characters of a name

Flat = dict[str, Any]  # dotted keys of a configuration


@dataclass(frozen=True, eq=False)
class Series:
    """A column of the table: runs that differ in nothing but the seed."""

    name: str
    runs: tuple[Run, ...]  # one per seed, in the order of seeds
    style: Style

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of its runs."""
        return tuple(int(run.summary["seed"]) for run in self.runs)

    @property
    def strategy(self) -> str:
        """The strategy of its runs."""
        return str(self.runs[0].summary["strategy"])


@dataclass(frozen=True, eq=False)
class Group:
    """Runs of the same conditions."""

    name: str  # "A", "B", ...; empty where there is but one group
    series: tuple[Series, ...]
    conditions: Flat

    @property
    def runs(self) -> list[Run]:
        """All of them."""
        return [run for series in self.series for run in series.runs]

    @property
    def first(self) -> Mapping[str, Any]:
        """A summary from which the conditions may be read."""
        return self.series[0].runs[0].summary


def flat(tree: Mapping[str, Any], prefix: str = "") -> Flat:
    """Nested tables as dotted keys."""
    pairs: Flat = {}
    for key, value in tree.items():
        pairs |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return pairs


def group(runs: Sequence[Run]) -> list[Group]:
    """Groups in the order of their first runs; series within them likewise."""
    flats = [configuration(run) for run in runs]
    options = dict.fromkeys(key for tree in flats for key in tree if _within(key, (_OPTIONS,)))
    unset = dict.fromkeys((*_optional(), *options))
    known = {id(run): (unset if run.config else {}) | _known(run) for run in runs}
    parted: list[list[Run]] = []
    for run in runs:
        mine = _conditions(known[id(run)])
        for part in parted:
            if not differing([mine, _conditions(known[id(part[0])])]):
                part.append(run)
                break
        else:
            parted.append([run])
    names = _letters(len(parted)) if len(parted) > 1 else [""]
    return [
        Group(name, tuple(_series(part, known)), _conditions(known[id(part[0])]))
        for name, part in zip(names, parted, strict=True)
    ]


def differing(trees: Sequence[Flat]) -> list[str]:
    """Keys whose values differ, among those that all of the flat `trees` have, in the order of the first."""
    shared = [key for key in trees[0] if all(key in tree for tree in trees)]
    return [key for key in shared if any(tree[key] != trees[0][key] for tree in trees)]


def configuration(run: Run) -> Flat:
    """What is on record of a run's configuration, by dotted key."""
    if run.config:
        return flat(run.config)
    return {key: run.summary[name] for name, key in _IN_SUMMARY.items() if name in run.summary}


def describe(group_: Group) -> str:
    """The conditions in a sentence."""
    first = group_.first
    sessions = first.get("sessions", 1)
    held_out = (
        "the last item of each user held out" if sessions in (1, None) else f"the last {sessions} items, a round each"
    )
    candidates = first.get("candidates", 0)
    ranked = f"among {candidates} candidates" if candidates else "among the full catalogue"
    seen = {"keep": "seen items kept", "exclude": "seen items excluded"}.get(str(first.get("seen")), "")
    binding = {True: "budgets bind", False: "budgets do not bind"}.get(first.get("constrain", None), "")
    backbones = " and ".join(dict.fromkeys(proper(str(run.summary.get("backbone", "?"))) for run in group_.runs))
    seeds = sorted({seed for series in group_.series for seed in series.seeds})
    rounds = int(first["rounds"])
    parts = (
        f"{proper(str(first['dataset']))}, {backbones}, {int(first['devices']):,} {_devices(first)}",
        f"{rounds:,} {'round' if rounds == 1 else 'rounds'}",
        f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}",
    )
    protocol = ", ".join(part for part in (held_out, f"ranked {ranked}", seen, binding) if part)
    return f"{'; '.join(parts)}. Protocol: {protocol}."


def _devices(summary: Mapping[str, Any]) -> str:
    population = summary.get("population")
    return "devices" if population is None else f"devices of the population “{population}”"


def _known(run: Run) -> Flat:
    source = {"population.source": Path(str(run.summary["population"])).name} if "population" in run.summary else {}
    return configuration(run) | source | {"devices": run.summary["devices"], "rounds": run.summary["rounds"]}


def _optional() -> list[str]:
    """Keys that a config.toml lacks where they are unset."""
    return [key for key, value in flat(make_config({}).model_dump()).items() if value is None]


def _conditions(known: Flat) -> Flat:
    return {key: value for key, value in known.items() if _within(key, _CONDITIONS) and not _within(key, _EXECUTION)}


def _within(key: str, names: Iterable[str]) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in names)


def _compared(known: Flat, strategy: str) -> Flat:
    """What tells one method from another, for `strategy`."""
    of_elsewhere = ":" in str(known.get("strategy", ""))  # MODULE:CLASS, which may read whatever it likes
    foreign = [name for name in _OWN_SECTIONS if name != strategy and not of_elsewhere]
    left_out = (*_CONDITIONS, *_EXECUTION, *foreign)
    return {key: value for key, value in known.items() if not _within(key, left_out)}


def _series(runs: Sequence[Run], known: Mapping[int, Flat]) -> Iterable[Series]:
    """Runs of one configuration are a series; a second run of the same seed begins another."""
    parted: list[tuple[str, Flat, list[Run]]] = []
    for run in runs:
        strategy = str(run.summary["strategy"])
        mine, seed = _compared(known[id(run)], strategy), run.summary["seed"]
        for name, theirs, members in parted:
            taken = {member.summary["seed"] for member in members}
            if name == strategy and not differing([mine, theirs]) and seed not in taken:
                members.append(run)
                break
        else:
            parted.append((strategy, mine, [run]))
    names = _names(parted)
    looks = styles([strategy for strategy, _, _ in parted])
    for name, look, (_, _, members) in zip(names, looks, parted, strict=True):
        yield Series(name, tuple(sorted(members, key=lambda run: int(run.summary["seed"]))), look)


def _names(parted: Sequence[tuple[str, Flat, list[Run]]]) -> list[str]:
    """A strategy by its name, with what tells it from others of that name; the folder where nothing else does."""
    names = []
    for strategy, mine, _ in parted:
        rivals = [theirs for name, theirs, _ in parted if name == strategy]
        keys = differing(rivals)
        if strategy == "static" and mine.get("static.bits", 32) != 32 and "static.bits" not in keys:
            keys.append("static.bits")  # not what the name alone is taken for
        what = ", ".join(f"{key.rpartition('.')[2]} {mine[key]}" for key in keys if mine[key] is not None)
        names.append(f"{strategy} ({what})" if what else strategy)
    short = [_short(name) for name in names]
    folders = [_short(f"{name} in {parted[place][2][0].folder.name}") for place, name in enumerate(short)]
    named = [folders[place] if short.count(name) > 1 else name for place, name in enumerate(short)]
    # folders of one name in different places, or names that differ only behind what is shown of them
    return [
        f"{name} #{named[: place + 1].count(name)}" if named.count(name) > 1 else name
        for place, name in enumerate(named)
    ]


def _short(name: str) -> str:
    printable = "".join(letter if letter.isprintable() else "·" for letter in name)
    return printable if len(printable) <= _LONGEST else f"{printable[: _LONGEST - 1]}…"


def _letters(count: int) -> list[str]:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return [alphabet[index] if count <= len(alphabet) else str(index + 1) for index in range(count)]
