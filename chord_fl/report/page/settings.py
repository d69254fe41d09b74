"""How the runs were configured: what differs between them first, then each run's config.toml as it is.

section(group) -> Section
files(groups) -> list[File]
"""

from collections.abc import Sequence
from dataclasses import dataclass

from chord_fl.report.page.document import Section, table
from chord_fl.report.page.groups import Group, configuration


@dataclass(frozen=True)
class File:
    """A run's config.toml."""

    title: str
    text: str


def section(group: Group) -> Section:
    """The keys in which the runs of a group differ."""
    known = [configuration(run) for run in group.runs]
    columns = [_column(group, index) for index in range(len(known))]
    keys = list(dict.fromkeys(key for tree in known for key in tree))
    rows = []
    for key in keys:
        values = [tree.get(key, "-") for tree in known]
        if any(value != values[0] for value in values):
            rows.append((key, [str(value) for value in values]))
    if rows:
        return Section(
            "configuration",
            "Configuration",
            ("Keys in which the runs differ.",),
            tables=(table(("key", *columns), rows),),
        )
    words = "All runs have the same configuration." if len(known) > 1 else "One run: there is nothing that differs."
    return Section("configuration", "Configuration", (words,))


def files(groups: Sequence[Group]) -> list[File]:
    """The configuration files of all runs that have one."""
    found = []
    for group in groups:
        for index, run in enumerate(group.runs):
            if run.text:
                part = f"{group.name}: " if group.name else ""
                found.append(File(f"{part}{_column(group, index)}, {run.folder.name}/config.toml", run.text))
    return found


def _column(group: Group, index: int) -> str:
    """The name of a run: its series, and its seed where that has several."""
    names = [
        series.name if len(series.runs) == 1 else f"{series.name}, seed {seed}"
        for series in group.series
        for seed in series.seeds
    ]
    return names[index]
