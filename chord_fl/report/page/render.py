"""Run folders in, one HTML file out, and its figures as files where they are wanted.

write(paths, page, figures=None) -> Written

The file needs nothing besides itself: styles and figures are within, there is no script, and its content policy lets a
browser load nothing. Whatever comes from a run is escaped.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
from markupsafe import Markup

from chord_fl.errors import ConfigError
from chord_fl.report.drawing import save
from chord_fl.report.labels import proper
from chord_fl.report.page import accuracy, costs, devices, groups, losses, plans, rounds, runs, settings, summary
from chord_fl.report.page.document import Section
from chord_fl.report.page.groups import Group
from chord_fl.report.page.palette import variables
from chord_fl.report.page.runs import Run
from chord_fl.report.page.svg import inline

_TITLE_NAMES = 5  # series in the title of a page


@dataclass(frozen=True)
class Written:
    """What was made of which runs."""

    page: Path
    runs: int
    left_out: tuple[str, ...]  # a sentence per folder that could not be reported
    figures: tuple[Path, ...]


@dataclass(frozen=True, eq=False)
class Part:
    """A group as the page shows it. `prefix` keeps its anchors apart from those of others."""

    group: Group
    prefix: str
    conditions: str
    sections: tuple[Section, ...]


def write(paths: Sequence[Path], page: Path, figures: Path | None = None) -> Written:
    """Compare the runs that `paths` stand for in `page`; write PNG and SVG of every figure into the folder `figures`.

    A run that cannot be read is left out and named, as long as there is another. Raises ConfigError, one line, if there
    is none, or if something cannot be written.
    """
    _check_writable(page, figures)
    read, left_out = _read(runs.find(paths))
    parts = [_part(group) for group in groups.group(read)]
    html = _html(parts, left_out)
    written: list[Path] = []
    try:
        partial = page.with_name(f".{page.name}.partial")
        partial.write_text(html, encoding="utf-8")
        os.replace(partial, page)
        if figures is not None:
            for part in parts:
                for section in part.sections:
                    for picture in section.pictures:
                        written += save(picture.figure, figures, f"{part.prefix}{picture.name}")
    except OSError as error:
        raise ConfigError(f"{error.filename}: cannot be written ({error.strerror})") from error
    return Written(page, len(read), tuple(left_out), tuple(written))


def _check_writable(page: Path, figures: Path | None) -> None:
    """Before any work."""
    if page.is_dir():
        raise ConfigError(f"--out {page}: a folder; give the name of a file, such as {page / 'report.html'}")
    for option, folder in (("--out", page.parent), ("--figures", figures)):
        if folder is None:
            continue
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{option} {folder}: cannot be written ({error.strerror})") from error
        if not os.access(folder, os.W_OK):
            raise ConfigError(f"{option} {folder}: cannot be written (permission denied)")


def _read(folders: Sequence[Path]) -> tuple[list[Run], list[str]]:
    read, left_out = [], []
    for folder in folders:
        try:
            read.append(runs.read(folder))
        except ConfigError as error:
            left_out.append(str(error).removeprefix("report "))
    if not read:
        more = f" (and {len(left_out) - 1} more)" if len(left_out) > 1 else ""
        raise ConfigError(f"report {left_out[0]}{more}")
    return read, left_out


def _part(group: Group) -> Part:
    found = (
        summary.results(group),
        accuracy.accuracy(group),
        accuracy.control(group),
        devices.section(group),
        plans.section(group),
        rounds.section(group),
        costs.section(group),
        losses.section(group),
        settings.section(group),
    )
    prefix = f"{group.name.lower()}-" if group.name else ""
    return Part(group, prefix, groups.describe(group), tuple(section for section in found if section))


def _html(parts: Sequence[Part], left_out: Sequence[str]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("chord_fl.report.page", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )

    def drawn(part: Part, section: Section) -> list[tuple[str, str, str, Markup]]:
        return [
            (
                *(f"{part.prefix}figure-{picture.name}", picture.title, picture.reading),
                # every text in it was escaped where the figure was drawn
                Markup(
                    inline(picture.figure, f"{part.prefix}figure-{picture.name}", picture.title, picture.description)
                ),
            )
            for picture in section.pictures
        ]

    known = [part.group for part in parts]
    return environment.get_template("page.html.j2").render(
        title=_title(known),
        parts=parts,
        apart=_apart(known),
        left_out=left_out,
        files=settings.files(known),
        colours=variables().values(),
        drawn=drawn,
    )


def _title(found: Sequence[Group]) -> str:
    datasets = list(dict.fromkeys(proper(str(group.first["dataset"])) for group in found))
    names = list(dict.fromkeys(series.name for group in found for series in group.series))
    more = f" and {len(names) - _TITLE_NAMES} more" if len(names) > _TITLE_NAMES else ""
    return f"{', '.join(datasets)}: {', '.join(names[:_TITLE_NAMES])}{more}"


def _apart(found: Sequence[Group]) -> list[tuple[str, list[tuple[str, str]]]]:
    """By group its name, and what tells it from the others: key and value."""
    if len(found) < 2:
        return []
    keys = [
        key
        for key in dict.fromkeys(key for group in found for key in group.conditions)
        if len({str(group.conditions[key]) for group in found if key in group.conditions}) > 1
    ]
    return [(group.name, [(key, str(group.conditions.get(key, "not on record"))) for key in keys]) for group in found]
