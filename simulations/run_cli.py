"""`chord-fl simulate` and `chord-fl compare`: a population under one strategy, or under several."""

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chord_fl.config import Config
from chord_fl.errors import ChordError, ConfigError
from simulations import options as o

if TYPE_CHECKING:
    from simulations.prepare import Progress
    from simulations.progress import Style
    from simulations.tracking import Follower
    from simulations.watch import Watch
    from strategies.base import DeviceStrategy


@o.takes(o.SIMULATION)
def simulate(
    *,
    out: o.Out = None,
    track: o.Track = None,
    as_json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
    **flags: Any,
) -> None:
    """Run a population of devices under one strategy; train first if needed.

    Training is needed once per configuration; checkpoints are kept. Results go
    into a folder of their own. Precedence of settings: preset, --config,
    --recipe, --set, then the other options.

    [bold]Examples[/]
      chord-fl simulate
          CHORD on MovieLens-100K, a device per user.
      chord-fl simulate --preset thousands --devices 2000 --rounds 3
          Two thousand synthetic devices, three rounds.
      chord-fl simulate --strategy static --bits 3 --out runs/static-3
          One shared model at 3 bits per weight; results in runs/static-3.
      chord-fl simulate --sessions 10 --refresh cosine:0.1 --track tensorboard
          Users who live on; every epoch and round goes to TensorBoard.
      chord-fl simulate --json --quiet > result.json
          For a script: stdout is one JSON document.
    """
    config = o.resolve(**flags)
    from simulations import console, prepare, progress, tracking

    if flags["bits"] is not None and config.strategy != "static":
        raise ConfigError(
            f"--bits {flags['bits']}: only static takes a bit-width, and the strategy is {config.strategy}"
        )
    follower = tracking.follower(track, console.warn)
    folder = out or prepare.default_folder(config.strategy_label)
    failure = _simulate(config, folder, config.strategy_label, follower, progress.style(quiet, verbose), verbose)
    result = _result(folder)
    if as_json:
        console.print_json(result)
    else:
        console.say(console.protocol(result))
        console.out.print(console.results_table([result]))
        for line in console.closing(result):
            console.say(line)
    if failure:
        raise failure


@o.takes({name: flag for name, flag in o.SIMULATION.items() if name != "strategy"})
def compare(
    *,
    strategies: Annotated[
        str,
        typer.Option(
            metavar="A,B,...",
            help=f"Strategies to compare: {o.STRATEGY_NAMES}. static:3 is static at 3 bits; MODULE:CLASS is any other.",
            rich_help_panel=o.RUN,
        ),
    ] = "chord,static,finetune",
    out: o.Out = None,
    track: o.Track = None,
    as_json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
    **flags: Any,
) -> None:
    """Run the same population under several strategies and print one table.

    The table is also written as compare.csv, beside a folder per strategy.

    [bold]Examples[/]
      chord-fl compare --strategies chord,static,static:3,finetune
          CHORD, the full-precision model, the same at 3 bits, and fine-tuning.
      chord-fl compare --strategies chord,quant,covisitation --no-constrain
          As the paper compares: every method on every phone.
      chord-fl compare --preset budget-phones --seed 1 --json
          Phones with little memory, another seed; a JSON list, a run each.
    """
    config = o.resolve(**flags)
    import pandas as pd

    from chord_fl.report.lines import with_figures
    from simulations import comparison, console, prepare, progress, tracking

    runs = comparison.runs(config, strategies)
    followers = {label: tracking.follower(track, console.warn) for label in runs}
    for run in runs.values():  # whatever is wrong with one of them is said before the first begins
        prepare.check(run)
        prepare.check_checkpoint(run)
    folder = prepare.make_folder(out or prepare.default_folder("compare"))
    how, results, failure = progress.style(quiet, verbose), [], None
    for label, run in runs.items():
        failure = _simulate(run, folder / label, label, followers[label], how, verbose)
        results.append({"label": label, **_result(folder / label)})
        table = pd.DataFrame([with_figures(result) for result in results])
        table.drop(columns=["folder", "errors"]).to_csv(folder / "compare.csv", index=False)
        if failure:
            break
    if as_json:
        console.print_json(results)
    else:
        console.say(console.protocol(results[0]))
        for shown in console.results_tables(results, console.out.width):
            console.out.print(shown)
        for line in console.unlike(results):
            console.say(line)
        for result in results:
            for line in console.without_result(result):
                console.say(f"{result['label']}: {line}")
        console.say(f"Results: {folder}/compare.csv, and a folder per strategy beside it.")
        console.say(console.how_to_report(folder))
    if failure:
        raise failure


def _simulate(
    config: Config, folder: Path, label: str, follower: "Follower", how: "Style", verbose: bool
) -> ChordError | None:
    """Run; what is returned is the error of a run that stopped since most of its devices failed.

    What strategies and trackers print in the meantime goes to stderr: stdout is for results.
    """
    from simulations import console, progress, run
    from strategies.base import MostDevicesFailedError

    @contextmanager
    def training(config: Config, method: str) -> Iterator["Progress"]:
        stack.enter_context(follower.following(config, folder))  # the folder is there now
        with progress.training(config, method, how) as told:
            yield follower.training(told)

    @contextmanager
    def rounds(strategy: "DeviceStrategy") -> Iterator["Watch | None"]:
        strategy.record.listeners.append(follower.round)
        with progress.rounds(strategy.record, config, label, how) as watch:
            try:
                yield watch
            except KeyboardInterrupt:
                console.warn(console.interrupted(strategy.record.summary.get("rounds", 0), folder))
                raise

    with redirect_stdout(sys.stderr), ExitStack() as stack:
        try:
            run.simulate(config, folder, training=training, rounds=rounds, verbose=verbose)
        except MostDevicesFailedError as error:
            return error
    return None


def _result(folder: Path) -> dict[str, Any]:
    """The summary of a run, the folder that it is in, and why devices have no result, most common reason first."""
    from chord_fl.report.errors import errors_of

    summary = json.loads((folder / "summary.json").read_text())
    return {**summary, "folder": str(folder), "errors": errors_of(folder).to_dict("records")}
