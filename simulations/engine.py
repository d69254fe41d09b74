"""The one place that starts Flower's simulation on Ray from Python.

`run_simulation` is deprecated in favour of `flwr run`, which cannot be called from a program and returns nothing; the
adapter keeps that in one function.
"""

import logging
import os
import threading
import warnings
from collections.abc import Iterable
from typing import Any

from flwr.app import Context, Message
from flwr.serverapp import Grid, ServerApp

from chord_fl.config import Config
from chord_fl.errors import ChordError
from simulations.server_app import run_rounds, workers
from simulations.settings import exported
from simulations.watch import Watch
from strategies.base import DeviceStrategy

_WITHOUT_LOG = {"RAY_DEDUP_LOGS": "1", "RAY_DEDUP_LOGS_SKIP_REGEX": "."}  # Ray prints a dead worker's end to stdout
_WITH_LOG = {"RAY_DEDUP_LOGS": "0"}
NODES_PER_WORKER = 10  # enough to even out the load, few enough that messages cost nothing
DEVICES_PER_NODE = 1000  # below that, messages cost more than an uneven load
_QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


def nodes(config: Config, devices: int) -> int:
    """Flower nodes for `devices`: cohorts of equal size, or one node per so many devices as the configuration says."""
    per_node = config.simulation.devices_per_node
    if per_node:
        return -(-devices // per_node)
    most = NODES_PER_WORKER * workers(config)
    return min(devices, most, max(2 * workers(config), devices // DEVICES_PER_NODE))


def run(
    strategy: DeviceStrategy, config: Config, devices: int, verbose: bool = False, watch: Watch | None = None
) -> None:
    """Run the strategy's rounds over `devices` on Ray, and return when they are done.

    `watch` sees the messages that pass. What the strategy raises is raised here; its record is complete up to the last
    finished round in any case.
    """
    settings = _QUIET | (_WITH_LOG if verbose else _WITHOUT_LOG)
    os.environ.update({name: value for name, value in settings.items() if name not in os.environ})
    from flwr.simulation import run_simulation

    from simulations.client_app import app as client_app

    server_app, interrupted, idle = ServerApp(), threading.Event(), threading.Event()
    idle.set()

    @server_app.main()
    def main(grid: Grid, context: Context) -> None:
        idle.clear()
        try:
            _stop_when(interrupted, grid)
            if watch is not None:
                watch.follow(grid)
            run_rounds(grid, strategy, config)
        finally:
            idle.set()

    logging.getLogger("flwr").setLevel(logging.INFO if verbose else logging.CRITICAL)
    logging.getLogger("ray.widgets").setLevel(logging.ERROR)  # in notebooks it asks for a package that only decorates
    processes = workers(config)
    backend: Any = {
        "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
        "init_args": {
            "num_cpus": processes,
            "include_dashboard": False,
            "log_to_driver": verbose,
            "logging_level": logging.INFO if verbose else logging.ERROR,
        },
    }
    with warnings.catch_warnings(), exported(config):
        warnings.simplefilter("ignore")
        try:
            run_simulation(server_app, client_app, nodes(config, devices), backend_config=backend)
        except SystemExit as error:  # which Ray makes of SIGTERM
            raise KeyboardInterrupt from error
        except Exception as error:
            if _follows_an_interrupt(error):  # what broke while Flower and Ray were taken down is no failure of its own
                raise KeyboardInterrupt from error
            raise
        finally:
            interrupted.set()
            idle.wait(timeout=60)  # the strategy may be writing a round


def _follows_an_interrupt(error: BaseException | None) -> bool:
    """Whether `error` came up while a Ctrl-C was handled."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _stop_when(interrupted: threading.Event, grid: Any) -> None:
    """Flower runs the strategy in a thread that no Ctrl-C reaches: end it where it looks for replies."""
    pull = grid.pull_messages

    def pull_messages(message_ids: Iterable[str]) -> Iterable[Message]:
        if interrupted.is_set():
            raise ChordError("interrupted")
        replies: Iterable[Message] = pull(message_ids)
        return replies

    grid.pull_messages = pull_messages
