"""The command `chord-fl`. Exit codes: 0 done, 1 a run failed, 2 a usage or configuration error, 130 interrupted."""

import os
import re
import sys
from difflib import get_close_matches
from typing import Annotated

import click
import typer

from chord_fl import __version__
from chord_fl.errors import ChordError, printable
from simulations.data_cli import data
from simulations.devices_cli import devices
from simulations.new_cli import app as new_app
from simulations.report_cli import report
from simulations.reproduce_cli import reproduce
from simulations.run_cli import compare, simulate
from simulations.train_cli import train

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
INTERRUPTED = 130  # what typer returns after Ctrl-C
RUN, LOOK, EXTEND = "Train, simulate, compare", "Look at what there is to simulate", "Add to it"
PAPER = "The paper"
app.command(rich_help_panel=RUN)(simulate)
app.command(rich_help_panel=RUN)(compare)
app.command(rich_help_panel=RUN)(train)
app.command(rich_help_panel=RUN)(report)
app.command(rich_help_panel=LOOK)(data)
app.command(rich_help_panel=LOOK)(devices)
app.add_typer(new_app, name="new", rich_help_panel=EXTEND)
app.command(rich_help_panel=PAPER)(reproduce)


def _version(asked: bool) -> None:
    if asked:
        print(f"chord-fl {__version__}")
        raise typer.Exit


@app.callback()
def front_page(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Simulate thousands of phones, each with a recommender of its own.

    chord-fl runs CHORD (ACM MM '25), personalised mixed-precision recommenders
    at 2 bits per channel, and its baselines, through Flower and Ray. Every byte
    sent and every rank is on record.

    [bold]First steps[/]
      chord-fl simulate
          CHORD on MovieLens-100K: 943 users, a device each. Trains first
          (minutes, once), then takes seconds.
      chord-fl compare --strategies chord,static,finetune --no-constrain
          The same devices under three strategies, in one table.
      chord-fl report runs/TIME-compare
          What came out, as one HTML file with figures.
      chord-fl simulate --preset thousands
          Ten thousand synthetic devices.
      chord-fl new strategy mine
          A strategy of your own, to start from.
      chord-fl simulate --help
          Every command has such a page, with examples.

    [bold]Results[/]
      Every run has a folder, runs/TIME-STRATEGY or the one given by --out:
      summary.json, rounds.csv, devices.parquet, ledger.parquet, config.toml.
      Results go to stdout; progress and errors go to stderr. Checkpoints and
      data are kept in the user's cache folder and found again by themselves.

    [bold]Exit codes[/]
      0    done
      1    the run failed: most devices had no result
      2    wrong usage, configuration or data; nothing was begun
      130  interrupted; finished rounds and epochs are kept

    [bold]Environment[/]
      XDG_CACHE_HOME   the cache folder on Linux is chord-fl in this one
      COLUMNS          width of tables, where there is no terminal to ask
      NO_COLOR         if set, output has no colours
      Variables that begin with FLWR_ and RAY_ reach Flower and Ray.
    """


def main() -> None:
    """Entry point: errors that a user can cause become one line and an exit code."""
    try:
        code = app(standalone_mode=False)
        if code == INTERRUPTED:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)  # a thread of Flower's may wait for a worker that is gone, and Python for that thread
        sys.exit(code or 0)
    except click.UsageError as error:
        if type(error).__name__ != "NoArgsIsHelpError":  # has printed its page
            print(f"error: {printable(_usage(error))}", file=sys.stderr)
        sys.exit(2)
    except ChordError as error:
        from strategies.base import MostDevicesFailedError

        print(f"error: {printable(str(error))}", file=sys.stderr)
        sys.exit(1 if isinstance(error, MostDevicesFailedError) else 2)


def _usage(error: click.UsageError) -> str:
    """What is wrong with the command line, what may have been meant, and where to read about it, in one line."""
    text = re.split(r" \(?(?:Did you mean|Possible options)", error.format_message())[0].rstrip(".")
    if error.ctx is None:
        return text
    command, known = error.ctx.command, []
    if isinstance(error, click.NoSuchOption):
        known = [name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)]
    elif isinstance(command, click.Group):
        known = command.list_commands(error.ctx)
    given = re.findall(r"'?([\w-]+)'?$", text)[-1:]
    meant = get_close_matches("".join(given), known, n=1)
    hint = f"; did you mean {meant[0]}?" if meant else "."
    return f"{text[0].lower()}{text[1:]}{hint} See {error.ctx.command_path} --help"


if __name__ == "__main__":
    main()
