"""The virtual clock: what an exchange costs a phone in modelled seconds and joules. Nothing here is measured time.

Every constant is a key of the configuration's section `clock` (docs/population.md has the table). From a source: round
trips (RFC 9293, RFC 8446), energy of memory (Han et al., ISCA 2016) and of LTE (Huang et al., MobiSys 2012, as others
quote it). Assumptions, by order of magnitude: latencies of 10 to 100 ms, 10^9 operations and 10^9 to 10^10 bytes of
memory a second, watts of a core, and for Wi-Fi a tenth of a watt and a microjoule a byte.

`clock.cost` names a function of the same arguments that takes the place of `cost`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from chord_fl.config import ClockConfig
from chord_fl.device.resources import Resources
from chord_fl.device.states import State
from chord_fl.errors import ConfigError
from chord_fl.imports import imported_for_user

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Load:
    """What B devices do in an exchange, [B] each or one for all."""

    down_bytes: NDArray[np.int64] | int = 0
    up_bytes: NDArray[np.int64] | int = 0
    operations: Floats | float = 0.0
    read_bytes: NDArray[np.int64] | int = 0  # of weights and embeddings, from memory


@dataclass(frozen=True)
class Cost:
    """What it costs them, [B] each."""

    seconds: Floats
    joules: Floats


def cost(load: Load, score: Floats, resources: Resources, state: State, constants: ClockConfig, last: bool) -> Cost:
    """Seconds and joules of B devices with these processors (`score` [B]), links and states, [B] each.

    Transfer: the connection, then bytes over the link of the moment. Compute: operations over the processor's speed,
    and bytes over that of the memory; bit-widths show in both, by unpacking and by bytes. A device that transfers
    nothing connects to nobody. `last`: this is the last exchange of a round, after which a cellular radio falls asleep.
    """
    c = constants
    down, up = np.asarray(load.down_bytes, dtype=np.float64), np.asarray(load.up_bytes, dtype=np.float64)
    connected = (down + up) > 0
    latency = np.where(state.metered, c.cellular_latency, c.wifi_latency)
    transfer = connected * c.round_trips * latency + down / resources.downlink + up / resources.uplink
    speed = c.operations_per_score * score * np.where(state.busy, c.busy_share, 1.0)
    compute = load.operations / speed + np.asarray(load.read_bytes) / c.memory_bandwidth
    wifi = c.wifi_watts * transfer + c.wifi_joules_down * down + c.wifi_joules_up * up
    cellular = c.cellular_watts * transfer + c.cellular_joules_down * down + c.cellular_joules_up * up
    cellular = cellular + connected * (c.cellular_tail if last else 0.0)
    radio = np.where(state.metered, cellular, wifi)
    joules = radio + c.processor_watts * compute + c.memory_joules * np.asarray(load.read_bytes)
    return Cost(transfer + compute, joules)


Model = Callable[[Load, Floats, Resources, State, ClockConfig, bool], Cost]


@lru_cache(maxsize=2)
def model(name: str) -> Model:
    """The function that `clock.cost` names, MODULE:FUNCTION: `cost`, or one of the user's own. Raises ConfigError."""
    found: Model = imported_for_user(name, f"clock.cost = {name!r}")
    if not callable(found):
        raise ConfigError(f"clock.cost = {name!r}: {name.rpartition(':')[2]} is no function")
    return found
