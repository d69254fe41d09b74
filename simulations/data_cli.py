"""`chord-fl data`: a data set in figures, before anything is trained on it."""

from typing import Annotated, Any

import typer

from simulations import options as o


@o.takes({**o.SOURCE, "seed": o.Seed})
def data(
    name: Annotated[str, typer.Argument(metavar="NAME", help=f"{o.DATASETS}.", show_default=False)],
    *,
    as_json: o.Json = False,
    quiet: o.Quiet = False,
    **flags: Any,
) -> None:
    """Print users, items, interactions and density of a data set.

    The paper's Table 1 stands beside them, where it has the data set.

    [bold]Examples[/]
      chord-fl data ml-100k
          MovieLens-100K, downloaded if it is not there.
      chord-fl data csv --path log.csv --user-column who --item-column what
          A file of your own.
      chord-fl data synthetic --devices 500 --items 300 --json
          A synthetic population; the figures as JSON.
    """
    config = o.resolve(dataset=name, **flags)
    from rich.table import Column, Table

    from chord_fl.data.dataset import load, statistics
    from chord_fl.report.paper import table as paper_table
    from simulations import console, progress

    with progress.waiting(f"reading {name}", progress.style(quiet, verbose=False)) as say:
        read = load(config.data, config.seed, lambda done, total: say(f"reading {name}: {done / total:.0%}"))
        counts = statistics(read, lambda done, total: say(f"counting: {done:,} of {total:,} users"))
    original = {"cd-like": "amazon-cd", "yelp-like": "yelp"}.get(name, name)
    printed = paper_table("table1").query("dataset == @original")
    heads = ("users", "items", "interactions", "density")
    if as_json:
        figures = {head: getattr(counts, head) for head in heads}
        console.print_json({"dataset": name, **figures, "paper": printed.to_dict("records")})
        return
    table = Table("data set", *(Column(head, justify="right") for head in heads))
    row = (f"{counts.users:,}", f"{counts.items:,}", f"{counts.interactions:,}", f"{counts.density:.3%}")
    table.add_row(name, *row)
    for paper in printed.itertuples():
        cells = (f"{paper.users:,}", f"{paper.items:,}", f"{paper.interactions:,}", f"{paper.density_percent:.3f}%")
        table.add_row(f"paper, Table 1: {original}", *cells)
    console.out.print(table)
    if name == "ml-100k":
        console.out.print("The paper's counts follow from no 10-core rule that was tried; see docs/data.md.")
