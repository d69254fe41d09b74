"""What a phone is doing at a moment of virtual time: its battery, whether it charges, on what network, how busy.

Each is a function of the moment alone, so that any device can be asked about any time. All of it is assumed.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chord_fl.device.availability import DAY
from chord_fl.device.population import Traits
from chord_fl.randomness import uniform

LEAST_BATTERY = 0.05  # its owner plugs a phone in at the latest here
_HOUR = 3600.0  # network and business last for an hour, then are drawn anew


@dataclass(frozen=True)
class State:
    """Of B devices, [B] each."""

    battery: NDArray[np.float64]  # 0..1
    charging: NDArray[np.bool_]
    metered: NDArray[np.bool_]  # on a cellular network
    busy: NDArray[np.bool_]  # with its owner's work

    def of(self, rows: NDArray[np.int64]) -> "State":
        """Some of the devices."""
        return State(self.battery[rows], self.charging[rows], self.metered[rows], self.busy[rows])


def state(traits: Traits, seed: int, first: int, seconds: float, drained: NDArray[np.float64] | None = None) -> State:
    """The state of devices `first ..` with these `traits` at virtual time `seconds`.

    A battery goes round once a day: from 5 % it charges for the device's share of the time, and from full it is used up
    evenly. Where on this round a device stands at time 0 is drawn so that the level is uniform. `drained` [B] joules,
    which the simulation itself used and `recharged` has not brought back, come off that.
    """
    count, share = len(traits.charging), traits.charging
    place = _turns(traits, seed, first, seconds) % 1.0
    charging = place < share
    with np.errstate(divide="ignore", invalid="ignore"):
        height = np.where(charging, place / share, 1 - (place - share) / (1 - share))
    battery = LEAST_BATTERY + (1 - LEAST_BATTERY) * height
    if drained is not None:
        battery = np.maximum(battery - drained / traits.battery_joules, 0.0)
    drawn = uniform(seed, f"device state {int(seconds // _HOUR)}", first, count, 2)
    return State(battery, charging, drawn[:, 0] < traits.metered, drawn[:, 1] < traits.busy)


def recharged(traits: Traits, seed: int, first: int, since: float, until: float) -> NDArray[np.float64]:
    """Joules that charging between two virtual times gives back of what the simulation used, at most, [B].

    Assumption: they return as fast as the battery's own level rises, while it rises; never to one that never charges.
    """
    share = traits.charging
    turns = np.stack([_turns(traits, seed, first, moment) for moment in (since, until)])
    days = np.diff(np.floor(turns) * share + np.minimum(turns % 1.0, share), axis=0)[0]
    rise = (1 - LEAST_BATTERY) * traits.battery_joules
    return np.asarray(np.divide(rise * days, share, out=np.zeros_like(days), where=share > 0))


def _turns(traits: Traits, seed: int, first: int, seconds: float) -> NDArray[np.float64]:
    """Where each device stands on its battery's daily round, and the days gone by, [B]; it begins to charge at 0."""
    count, share = len(traits.charging), traits.charging
    level = uniform(seed, "device moment 1", first, count, 2)[:, 1]
    plugged_in = uniform(seed, "device battery", first, count, 1)[:, 0] < share
    begin = np.where(plugged_in, share * level, share + (1 - share) * (1 - level))
    return np.asarray(begin + seconds / DAY)
