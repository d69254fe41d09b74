"""`chord-fl report`: one HTML file that compares runs."""

from pathlib import Path
from typing import Annotated

import typer

from simulations import options as o


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Folders of runs, or folders that hold some.", show_default=False),
    ],
    out: Annotated[
        Path,
        typer.Option(help="The file to write (default report.html).", rich_help_panel=o.OUTPUT, show_default=False),
    ] = Path("report.html"),
    figures: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the same figures as PNG and SVG (default: none).",
            rich_help_panel=o.OUTPUT,
            show_default=False,
        ),
    ] = None,
    as_json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Compare runs in one HTML file that needs no network.

    Table, figures, losses, configuration. RUN is a folder that chord-fl
    simulate wrote; that of a comparison stands for the runs in it. Several
    seeds of a strategy become mean and standard deviation. Runs of other data
    or another protocol stand apart.

    [bold]Examples[/]
      chord-fl report runs/first runs/second
          Two runs, in report.html.
      chord-fl report runs/TIME-compare --out page.html --figures figures
          A comparison, and its figures as files of their own.
    """
    from chord_fl.report.page import render
    from simulations import console, progress

    with progress.waiting("reading and drawing", progress.style(quiet, verbose=False)):
        written = render.write(runs, out, figures)
    for reason in written.left_out:
        console.warn(f"Left out: {reason}")
    if as_json:
        files = [str(path) for path in written.figures]
        facts = {"page": str(written.page), "runs": written.runs, "left_out": list(written.left_out)}
        console.print_json({**facts, "figures": files})
        return
    drawn = f", {len(written.figures)} files in {figures}" if figures else ""
    console.say(f"Report of {written.runs} run{'s' if written.runs != 1 else ''}: {written.page}{drawn}")
