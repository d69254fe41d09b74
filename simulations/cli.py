"""The command `chord-fl`. Exit codes: 0 done, 1 a run failed, 2 a usage or configuration error, 130 interrupted."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chord_fl.config import Config
from chord_fl.errors import ChordError
from chord_fl.status import EXPECTED, word
from simulations import options as o
from simulations.devices_cli import devices
from simulations.new_cli import app as new_app
from simulations.options import resolve
from simulations.reproduce_cli import reproduce

if TYPE_CHECKING:
    from chord_fl.report.record import Record

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="""Simulate CHORD on thousands of heterogeneous devices: personalised mixed-precision recommenders, 2 bits per
channel (ACM MM '25), next to the baselines, through Flower and Ray.

**First steps:** `chord-fl simulate` runs CHORD on MovieLens-100K and trains first if needed; `chord-fl compare` puts
the baselines beside it; `chord-fl simulate --preset thousands` runs ten thousand synthetic devices.""",
)


@app.command()
def data(
    name: Annotated[str, typer.Argument(metavar="NAME", help=f"{o.DATASETS}.", show_default=False)],
    path: o.Path_ = None,
    data_dir: o.DataDir = None,
    devices: o.Devices = None,
    user_column: o.UserColumn = None,
    item_column: o.ItemColumn = None,
    time_column: o.TimeColumn = None,
    core: o.Core = None,
    items: o.Items = None,
    seed: o.Seed = None,
) -> None:
    """Print users, items, interactions and density of a data set, beside the paper's Table 1.

    Example: `chord-fl data csv --path ratings.csv --user-column userId --item-column movieId`
    """
    flags = {key: value for key, value in locals().items() if key != "name"}
    config = resolve(dataset=name, **flags)
    from rich.table import Column, Table

    from chord_fl.data.dataset import load, statistics
    from chord_fl.report.paper import table as paper_table
    from simulations import console

    with console.err.status(f"reading {name}") as status:
        read = load(config.data, config.seed, lambda done, total: status.update(f"reading {name}: {done / total:.0%}"))
        counts = statistics(read, lambda done, total: status.update(f"counting: {done:,} of {total:,} users"))
    heads = ("users", "items", "interactions", "density")
    table = Table("data set", *(Column(head, justify="right") for head in heads))
    row = (f"{counts.users:,}", f"{counts.items:,}", f"{counts.interactions:,}", f"{counts.density:.3%}")
    table.add_row(name, *row)
    original = {"cd-like": "amazon-cd", "yelp-like": "yelp"}.get(name, name)
    for paper in paper_table("table1").query("dataset == @original").itertuples():
        printed = (f"{paper.users:,}", f"{paper.items:,}", f"{paper.interactions:,}", f"{paper.density_percent:.3f}%")
        table.add_row(f"paper, Table 1: {original}", *printed)
    console.out.print(table)
    if name == "ml-100k":
        console.out.print("The paper's counts follow from no 10-core rule that was tried; see docs/data.md.")


@app.command()
def train(
    preset: o.Preset = None,
    config: o.ConfigFile = None,
    settings: o.Set = None,
    strategy: o.Strategy = None,
    strategy_option: o.StrategyOption = None,
    seed: o.Seed = None,
    dataset: o.Dataset = None,
    path: o.Path_ = None,
    data_dir: o.DataDir = None,
    user_column: o.UserColumn = None,
    item_column: o.ItemColumn = None,
    time_column: o.TimeColumn = None,
    core: o.Core = None,
    items: o.Items = None,
    recipe: o.Recipe = None,
    backbone: o.Backbone = None,
    window: o.Window = None,
    history: o.History = None,
    blocks: o.Blocks = None,
    ladder: o.Ladder = None,
    beta: o.Beta = None,
    epochs: o.Epochs = None,
    train_users: o.TrainUsers = None,
    device: o.Device = None,
    checkpoint: o.Checkpoint = None,
    sessions: o.Sessions = None,
) -> None:
    """Train what a strategy needs: CHORD, or the full-precision model of static and finetune.

    Interrupt it at any time; the same command goes on from the last epoch, to the same result.

    Example: `chord-fl train --window 5 --history 100 --checkpoint checkpoints/short`
    """
    resolved = resolve(**locals())
    from simulations import console, prepare

    prepare.check(resolved)
    if not prepare.strategy_class(resolved).learns:
        console.out.print(f"Nothing to train: {resolved.strategy} only counts, at the start of every run.")
        return
    method = prepare.strategy_class(resolved).method
    ready = prepare.is_trained(resolved, method)
    with console.training_progress(resolved, method) as progress:
        folder = prepare.trained(resolved, method, progress).folder
    console.out.print(f"{'Already trained' if ready else 'Trained'}: {folder}")
    for line in prepare.best_epoch(folder):
        console.out.print(line)


@app.command()
def simulate(
    preset: o.Preset = None,
    config: o.ConfigFile = None,
    settings: o.Set = None,
    out: o.Out = None,
    verbose: o.Verbose = False,
    strategy: o.Strategy = None,
    strategy_option: o.StrategyOption = None,
    seed: o.Seed = None,
    dataset: o.Dataset = None,
    path: o.Path_ = None,
    data_dir: o.DataDir = None,
    devices: o.Devices = None,
    user_column: o.UserColumn = None,
    item_column: o.ItemColumn = None,
    time_column: o.TimeColumn = None,
    core: o.Core = None,
    items: o.Items = None,
    recipe: o.Recipe = None,
    backbone: o.Backbone = None,
    window: o.Window = None,
    history: o.History = None,
    blocks: o.Blocks = None,
    ladder: o.Ladder = None,
    beta: o.Beta = None,
    epochs: o.Epochs = None,
    train_users: o.TrainUsers = None,
    device: o.Device = None,
    checkpoint: o.Checkpoint = None,
    rounds: o.Rounds = None,
    devices_per_node: o.DevicesPerNode = None,
    workers: o.Workers = None,
    candidates: o.Candidates = None,
    seen: o.Seen = None,
    bits: o.Bits = None,
    population: o.Population = None,
    availability: o.Availability = None,
    constrain: o.Constrain = None,
    deadline: o.Deadline = None,
    interval: o.Interval = None,
    dropout: o.Dropout = None,
    lost: o.Lost = None,
    corrupted: o.Corrupted = None,
    sessions: o.Sessions = None,
    refresh: o.Refresh = None,
) -> None:
    """Run a population of devices under one strategy; train first if there is no checkpoint for the configuration.

    Example: `chord-fl simulate --preset thousands --devices 2000 --rounds 3 --out runs/mine`
    """
    flags = {key: value for key, value in locals().items() if key not in ("out", "verbose")}
    resolved = resolve(**flags)
    from simulations import console

    folder = out or Path("runs") / f"{time.strftime('%Y%m%d-%H%M%S')}-{resolved.strategy_label}"
    summary = _simulate(resolved, folder, verbose).summary
    console.out.print(console.protocol(summary), soft_wrap=True)
    console.out.print(console.results_table([summary]))
    console.out.print(_closing(summary, folder))


@app.command()
def compare(
    preset: o.Preset = None,
    config: o.ConfigFile = None,
    settings: o.Set = None,
    out: o.Out = None,
    verbose: o.Verbose = False,
    strategies: Annotated[
        str,
        typer.Option(
            help="Strategies to compare, with commas between. static:3 is static at 3 bits; MODULE:CLASS is any other.",
            rich_help_panel="What to run",
        ),
    ] = "chord,static,finetune",
    strategy_option: o.StrategyOption = None,
    seed: o.Seed = None,
    dataset: o.Dataset = None,
    path: o.Path_ = None,
    data_dir: o.DataDir = None,
    devices: o.Devices = None,
    user_column: o.UserColumn = None,
    item_column: o.ItemColumn = None,
    time_column: o.TimeColumn = None,
    core: o.Core = None,
    items: o.Items = None,
    recipe: o.Recipe = None,
    backbone: o.Backbone = None,
    window: o.Window = None,
    history: o.History = None,
    blocks: o.Blocks = None,
    ladder: o.Ladder = None,
    beta: o.Beta = None,
    epochs: o.Epochs = None,
    train_users: o.TrainUsers = None,
    device: o.Device = None,
    checkpoint: o.Checkpoint = None,
    rounds: o.Rounds = None,
    devices_per_node: o.DevicesPerNode = None,
    workers: o.Workers = None,
    candidates: o.Candidates = None,
    seen: o.Seen = None,
    bits: o.Bits = None,
    population: o.Population = None,
    availability: o.Availability = None,
    constrain: o.Constrain = None,
    deadline: o.Deadline = None,
    interval: o.Interval = None,
    dropout: o.Dropout = None,
    lost: o.Lost = None,
    corrupted: o.Corrupted = None,
    sessions: o.Sessions = None,
    refresh: o.Refresh = None,
) -> None:
    """Run the same population under several strategies and print one table; also written as compare.csv.

    Example: `chord-fl compare --strategies chord,static --bits 3 --seen exclude`
    """
    flags = {key: value for key, value in locals().items() if key not in ("out", "verbose", "strategies")}
    resolved = resolve(**flags)
    import pandas as pd

    from simulations import comparison, console, prepare

    runs = comparison.runs(resolved, strategies)
    for run in runs.values():  # whatever is wrong with one of them is said before the first begins
        prepare.check(run)
        prepare.check_checkpoint(run)
    folder = prepare.make_folder(out or Path("runs") / f"{time.strftime('%Y%m%d-%H%M%S')}-compare")
    summaries = []
    for label, run in runs.items():
        summaries.append({"label": label, **_simulate(run, folder / label, verbose).summary})
        pd.DataFrame([console.per_device(summary) for summary in summaries]).to_csv(folder / "compare.csv", index=False)
    console.out.print(console.protocol(summaries[0]), soft_wrap=True)
    for table in console.results_tables(summaries, console.out.width):
        console.out.print(table)
    console.out.print(f"Results: {folder}/compare.csv, and a folder per strategy beside it.")


def _simulate(config: Config, folder: Path, verbose: bool) -> "Record":
    from simulations import console, engine, prepare

    devices = prepare.check(config).users
    prepare.check_checkpoint(config)
    prepare.make_folder(folder)
    method = prepare.strategy_class(config).method
    with console.training_progress(config, method) as progress:
        model = prepare.trained(config, method, progress)
    strategy = prepare.strategy(config, model, devices, folder, engine.nodes(config, devices))
    with console.err.status(f"{config.strategy_label}: starting the engine for {devices:,} devices") as status:
        strategy.notify = lambda text: status.update(f"{config.strategy_label}: {text}")
        try:
            engine.run(strategy, config, devices, verbose)
        except KeyboardInterrupt:
            console.err.print(f"Interrupted. The finished rounds are in {folder}.")
            raise
    return strategy.record


def _closing(summary: dict[str, Any], folder: Path) -> str:
    lines = [f"{summary['devices_per_second']:,.0f} devices per second, {summary['wall_seconds']:.1f} s in all."]
    gain, error = summary["ndcg@10_gain"], summary["ndcg@10_gain_se"]
    if gain == gain:
        verdict = "the plans personalise" if gain > 2 * error else "not told apart from chance"
        lines.append(
            f"Own plan against a stranger's: NDCG@10 {gain:+.4f} ± {error:.4f} (paired over devices): {verdict}."
        )
    lost = [f"{summary[word(status)]:,} {word(status)}" for status in EXPECTED if summary[word(status)]]
    if lost:
        rows = f"{summary['devices'] * summary['rounds']:,} rows"
        lines.append(f"Without a result, of {rows}: {', '.join(lost)} (column `status`; `error` says why).")
    if summary["over_memory_budget"]:
        lines.append(f"{summary['over_memory_budget']:,} rows needed more memory than the device had to spare.")
    if summary["failures"]:
        lines.append(f"[red]{summary['failures']:,} failures[/]: see the column `error` of devices.parquet.")
    return "\n".join([*lines, f"Results: {folder}/summary.json, rounds.csv, devices.parquet, ledger.parquet."])


app.add_typer(new_app, name="new")
app.command()(devices)
app.command()(reproduce)


def main() -> None:
    """Entry point: errors that a user can cause become one line and an exit code."""
    try:
        app(standalone_mode=True)
    except ChordError as error:
        from strategies.base import MostDevicesFailedError

        print(f"error: {error}", file=sys.stderr)
        sys.exit(1 if isinstance(error, MostDevicesFailedError) else 2)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
