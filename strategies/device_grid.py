"""The grid that a hosted strategy sees: one node per device, whatever the cohorts in which messages are carried."""

import random
from collections.abc import Callable, Iterable
from typing import Any

from flwr.app import Message
from flwr.serverapp import Grid
from flwr.supercore.run import Run

from chord_fl.errors import ChordError


class DeviceGrid(Grid):
    """Nodes 1, 2, ... for the devices 0, 1, ...; `exchange` carries messages to them and returns the replies."""

    def __init__(self, devices: int, seed: int, run: Run, exchange: Callable[..., list[Message]]) -> None:
        self._devices, self._seed, self._run, self._exchange = devices, seed, run, exchange
        self._looks = 0

    @property
    def run(self) -> Run:
        """Of the grid underneath."""
        return self._run

    def get_node_ids(self) -> Iterable[int]:
        """The same for every cohort and engine: which devices are drawn depends on the seed alone.

        Flower's strategies draw from what this returns by Python's global generator, so that is seeded here.
        """
        self._looks += 1
        random.seed(f"{self._seed} {self._looks}")
        return range(1, self._devices + 1)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """An exchange with the devices that the messages are for."""
        return self._exchange(list(messages), timeout)

    def set_run(self, run: Run) -> None:
        """Nothing to set: the run is that of the grid underneath."""

    def create_message(self, *args: Any, **kwargs: Any) -> Message:
        """Not here: Flower's `Message` is what strategies use."""
        raise ChordError("the strategy calls Grid.create_message: use flwr.app.Message")

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Not here: a round is one exchange after the other."""
        raise ChordError("the strategy calls Grid.push_messages: only send_and_receive is offered here")

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Not here: see `push_messages`."""
        raise ChordError("the strategy calls Grid.pull_messages: only send_and_receive is offered here")
