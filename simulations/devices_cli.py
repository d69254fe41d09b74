"""`chord-fl devices`: what a population is, before anything is simulated with it."""

from pathlib import Path
from typing import Annotated

import typer

from chord_fl.errors import ConfigError
from simulations import options as o


def devices(
    population: o.Population = None,
    availability: o.Availability = None,
    count: Annotated[
        int, typer.Option("--devices", min=1, max=10_000_000, help="How many devices of it.", rich_help_panel=o.RUN)
    ] = 10_000,
    seed: o.Seed = None,
    settings: o.Set = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for devices.csv (every device), the quantiles and a plot. Default: nothing is written.",
            rich_help_panel=o.OUTPUT,
            show_default=False,
        ),
    ] = None,
    as_json: o.Json = False,
) -> None:
    """Print the quantiles of what the devices of a population have.

    Bits are those that a plan for the configured model may have on average, at
    the beginning of a simulation.

    [bold]Examples[/]
      chord-fl devices
          Ten thousand phones of the default population.
      chord-fl devices --population budget-phones --out runs/budget-phones
          Small phones; a table of all of them, and a plot.
      chord-fl devices --population phones.csv --devices 500 --json
          A file of your own, as JSON.
    """
    config = o.resolve(settings=settings, seed=seed, population=population, availability=availability)
    from rich.table import Column, Table

    from chord_fl.report import population as report
    from simulations import console
    from simulations.devices_table import devices_table
    from simulations.population import check_population

    check_population(config, count)
    frame = devices_table(config, count)
    quantiles = report.quantiles(frame)
    shares = report.shares(frame)
    name = Path(config.population.source).name
    if as_json:
        facts = {"population": name, "devices": count, "seed": config.seed}
        console.print_json({**facts, "quantiles": quantiles.to_dict("index"), "shares": shares})
    else:
        table = Table("", *(Column(head, justify="right") for head in quantiles.columns))
        for resource, row in quantiles.iterrows():
            table.add_row(str(resource), *(f"{value:,.3g}" if value < 1000 else f"{value:,.0f}" for value in row))
        console.out.print(f"{name}: {count:,} devices, seed {config.seed}")
        console.out.print(table)
        for state, share in shares.items():
            console.out.print(f"{state}: {share:.1%} of the devices")
    if out is None:
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
        frame.to_csv(out / "devices.csv", index=False)
        quantiles.to_csv(out / "quantiles.csv", index_label="resource")
        written = report.figure(frame, out, f"{name}, {count:,} devices")
    except OSError as error:
        raise ConfigError(f"--out {out}: cannot be written ({error.strerror})") from error
    console.warn(f"Written: {out}/devices.csv, quantiles.csv, {', '.join(path.name for path in written)}.")
