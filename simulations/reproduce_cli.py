"""`chord-fl reproduce`: the paper's tables and figures, one command each."""

import os
import shlex
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from chord_fl.config import Config
from chord_fl.errors import ConfigError
from simulations import experiments
from simulations import options as o

_WHAT = "table1 to table6, figure3 to figure5, param, peer, personalisation, windows, budget, time, life, or all."


def reproduce(
    what: Annotated[str, typer.Argument(metavar="WHAT", help=_WHAT, show_default=False)],
    backbone: Annotated[
        str | None, typer.Option(help="sasrec or caser. Default: both.", rich_help_panel=o.RUN, show_default=False)
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="Seeds 0 to N - 1.", rich_help_panel=o.RUN)] = 3,
    out: Annotated[Path, typer.Option(help="Folder for tables, figures and runs.", rich_help_panel=o.RUN)] = Path(
        "results"
    ),
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1024,
            help="Trainings at once, of one thread each. Default: one per processor core.",
            rich_help_panel=o.RUN,
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List what there is and what would be done.", rich_help_panel=o.RUN)
    ] = False,
    recipe: o.Recipe = None,
    settings: o.Set = None,
    verbose: o.Verbose = False,
    dataset: o.Dataset = None,
    path: o.Path_ = None,
    data_dir: o.DataDir = None,
    devices: o.Devices = None,
    user_column: o.UserColumn = None,
    item_column: o.ItemColumn = None,
    time_column: o.TimeColumn = None,
    core: o.Core = None,
    items: o.Items = None,
    epochs: o.Epochs = None,
    train_users: o.TrainUsers = None,
    device: o.Device = None,
    workers: o.Workers = None,
    seen: o.Seen = None,
) -> None:
    """Make a table or a figure of the paper anew.

    What is missing is trained and simulated, what is done is reused. Interrupt
    it at any time; the same command goes on from there. Results are CSV and
    Markdown, figures also PNG and SVG, in OUT/DATASET; the runs they come from
    are in OUT/DATASET/runs.

    [bold]WHAT[/]
      table1 to table6, figure3 to figure5
          As the paper numbers them; all makes each of them.
      param
          The column Param from arithmetic alone, as CSV; nothing is trained.
      peer
          The base beside RecBole's modules.
      personalisation, windows
          Own plans against strangers' and trained weights, at short and long
          windows.
      budget, time, life
          Table 6 read off a population of tight phones; accuracy over a day;
          accuracy and bytes over ten sessions (docs/life.md).

    [bold]Examples[/]
      chord-fl reproduce table2 --dry-run
          What Table 2 on MovieLens-100K takes, and what is there already.
      chord-fl reproduce table2 --seeds 1 --backbone sasrec
          The quickest way to it.
      chord-fl reproduce table2 --dataset ml-1m --seeds 1
          On another data set.
      chord-fl reproduce all --seen exclude --out results-excluded
          All of them, where items that a user has seen are no candidates.

    [bold]Exit codes[/]
      0 done, 1 something failed (what there is has been written, and what is
      missing is noted), 2 wrong usage, 130 interrupted
    """
    started = time.time()
    if what not in experiments.NAMES:
        raise ConfigError(f"reproduce {what}: unknown; allowed: {', '.join(experiments.NAMES)}")
    if backbone not in (None, *experiments.BACKBONES):
        raise ConfigError(f"--backbone {backbone}: unknown; allowed: {', '.join(experiments.BACKBONES)}")
    if what == "param":
        print(_param(), end="")
        return
    asked = [text.partition("=")[0].strip() for text in settings or []]
    asked += ["train.train_users"] if train_users is not None else []
    asked += ["train.epochs"] if epochs is not None else []
    for key in asked:
        if key in _DECIDED:
            raise ConfigError(f"--set {key}: decided by reproduce itself{_DECIDED[key]}")
    flags: dict[str, Any] = {
        **{"dataset": dataset, "path": path, "data_dir": data_dir, "devices": devices, "items": items, "core": core},
        **{"user_column": user_column, "item_column": item_column, "time_column": time_column},
        **{"epochs": epochs, "train_users": train_users, "device": device, "workers": workers, "seen": seen},
    }

    def make(changes: Mapping[str, Any]) -> Config:
        # what makes a case stands above what the user set for all of them
        free = {name: value for name, value in flags.items() if o.KEYS[name] not in changes}
        return o.resolve(
            recipe=recipe, settings=[*(settings or []), *(f"{key}={value}" for key, value in changes.items())], **free
        )

    from simulations import console, publish

    request = publish.Request(
        what=what,
        backbones=(backbone,) if backbone else experiments.BACKBONES,
        seeds=seeds,
        out=out,
        jobs=jobs or _cores(),
        make=make,
        asked=tuple(asked),
        dataset=dataset,
        command=_command(),
        started=started,
        commit=publish.commit(),
    )
    if dry_run:
        for line in publish.preview(request):
            console.out.print(line, markup=False, soft_wrap=True)
        return
    try:
        complete = publish.publish(request, console.out, console.err, verbose)
    except KeyboardInterrupt:
        console.err.print("Interrupted. The same command goes on from here.")
        raise
    if not complete:
        raise typer.Exit(1)


# keys that differ from run to run within a table, and what to use instead
_DECIDED = {
    "seed": "; use --seeds",
    "strategy": "",
    "model.backbone": "; use --backbone",
    "train.checkpoint": ": it needs many of them",
    "data.name": "; use --dataset",
}


def _param() -> str:
    """Param of every method, backbone and data set beside the paper's, as CSV."""
    from chord_fl.report.param import param_table

    return param_table().to_csv(index=False)


def _cores() -> int:
    mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return mine or 1


def _command() -> str:
    """The command as it was typed, without the folders of this machine: it stands under tables that are passed on."""
    shown = [Path(word).name if Path(word).is_absolute() else word for word in sys.argv[1:]]
    return shlex.join(["chord-fl", *shown])
