"""`chord-fl report`: one HTML file that compares runs."""

from pathlib import Path
from typing import Annotated

import typer


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Folders of runs, or folders that hold some.", show_default=False),
    ],
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("report.html"),
    figures: Annotated[
        Path | None, typer.Option(help="Folder for the same figures as PNG and SVG.", show_default=False)
    ] = None,
) -> None:
    """Compare runs in one HTML file that needs no network: table, figures, losses, configuration.

    RUN is a folder that `chord-fl simulate` wrote; that of a comparison stands for the runs in it. Several seeds of a
    strategy become mean and standard deviation. Runs of other data or another protocol stand apart.

    Example: `chord-fl report runs/first runs/second --out report.html`
    """
    from chord_fl.report.page import render
    from simulations import console

    with console.err.status("reading and drawing"):
        written = render.write(runs, out, figures)
    for reason in written.left_out:
        console.err.print(f"Left out: {reason}", markup=False, soft_wrap=True)
    drawn = f", {len(written.figures)} files in {figures}" if figures else ""
    many = f"{written.runs} run{'s' if written.runs != 1 else ''}"
    console.out.print(f"Report of {many}: {written.page}{drawn}", markup=False, soft_wrap=True)


def how_to_report(folder: Path) -> str:
    """What a run says at its end about its report."""
    return f"Report: chord-fl report {folder} --out {folder}/report.html"
