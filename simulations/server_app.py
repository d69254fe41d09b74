"""The ServerApp of `flwr run .`: prepares as the command line does, then runs the strategy. Results are files."""

import os
import shutil
from pathlib import Path

from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp

from chord_fl.config import Config
from chord_fl.device import storage
from simulations import prepare
from simulations.settings import config_of
from strategies.base import DeviceStrategy

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train if there is no checkpoint, then simulate; the folder is the run config's `out`."""
    config = config_of(context)
    devices = prepare.check(config).users
    out = str(context.run_config.get("out", ""))
    folder = prepare.make_folder(Path(out).expanduser() if out else prepare.default_folder(config.strategy_label))
    model = prepare.trained(config, prepare.strategy_class(config).method)
    run_rounds(grid, prepare.strategy(config, model, devices, folder, None), config)
    print(f"results in {folder.absolute()}", flush=True)


def workers(config: Config) -> int:
    """Processes that host devices."""
    mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return config.simulation.workers or mine or 1


def run_rounds(grid: Grid, strategy: DeviceStrategy, config: Config) -> None:
    """Hand the rounds to Flower. There is no global array to train: the initial one is empty and stays so."""
    # Flower looks for replies every tenth of a second by default, which small populations would feel
    if hasattr(grid, "pull_interval"):
        grid.pull_interval = 0.01
    strategy.warm_up(grid, 2 * workers(config))
    try:
        strategy.start(
            grid=grid,
            initial_arrays=ArrayRecord(),
            num_rounds=config.rounds,
            timeout=config.simulation.timeout,
        )
    finally:  # the devices are gone, and with them what they kept
        shutil.rmtree(strategy.shipment.path.parent / storage.FOLDER, ignore_errors=True)
