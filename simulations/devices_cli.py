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
        int, typer.Option("--devices", min=1, max=10_000_000, help="How many devices.", rich_help_panel="What to show")
    ] = 10_000,
    seed: o.Seed = None,
    settings: o.Set = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the figures of every device (devices.csv), the quantiles and the plot.",
            rich_help_panel="What to show",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Print the quantiles of what a population's devices have; with --out, write them and a plot as well.

    Bits are those that a plan for the configured model may have on average, at the beginning of a simulation.

    Example: `chord-fl devices --population budget-phones --availability diurnal --out runs/budget-phones`
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
    table = Table("", *(Column(name, justify="right") for name in quantiles.columns))
    for name, row in quantiles.iterrows():
        table.add_row(str(name), *(f"{value:,.3g}" if value < 1000 else f"{value:,.0f}" for value in row))
    console.out.print(f"{Path(config.population.source).name}: {count:,} devices, seed {config.seed}")
    console.out.print(table)
    for name, share in report.shares(frame).items():
        console.out.print(f"{name}: {share:.1%} of the devices")
    if out is None:
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
        frame.to_csv(out / "devices.csv", index=False)
        quantiles.to_csv(out / "quantiles.csv", index_label="resource")
        written = report.figure(frame, out, f"{Path(config.population.source).name}, {count:,} devices")
    except OSError as error:
        raise ConfigError(f"--out {out}: cannot be written ({error.strerror})") from error
    console.out.print(f"Written: {out}/devices.csv, quantiles.csv, {', '.join(path.name for path in written)}.")
