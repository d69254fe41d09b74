"""An in-process Grid whose replies come one by one, as Flower polls for them; and the command line on top of it."""

import logging
import sys
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from flwr.app import Message
from flwr.superlink.grid import InMemoryGrid

from chord_fl.config import Config
from simulations import engine
from simulations.cli import main
from simulations.server_app import run_rounds
from simulations.watch import Watch
from strategies.base import DeviceStrategy
from tests.inprocess import InProcessGrid, exported, flower_task


class PolledGrid(InProcessGrid):
    """Flower's own `send_and_receive` over the nodes of an InProcessGrid."""

    pull_interval = 0.0

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        self._replies = {
            reply.metadata.reply_to_message_id: reply
            for message in messages
            if (reply := self._exchange(message)) is not None
        }
        return list(self._replies)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        next_ = next((one for one in message_ids if one in self._replies), None)
        return [] if next_ is None else [self._replies.pop(next_)]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        borrowed: Any = InMemoryGrid.send_and_receive
        return list(borrowed(self, messages, timeout=timeout))


def without_ray(**hooks: Any) -> Callable[..., None]:
    """What stands in for `engine.run`; `hooks` are InProcessGrid's."""

    def run(
        strategy: DeviceStrategy, config: Config, devices: int, verbose: bool = False, watch: Watch | None = None
    ) -> None:
        grid = PolledGrid(engine.nodes(config, devices), **hooks)
        if watch is not None:
            watch.follow(grid)
        logging.getLogger("flwr").setLevel(logging.CRITICAL)
        with exported(config), flower_task():
            run_rounds(grid, strategy, config)

    return run


def chord_fl(monkeypatch: pytest.MonkeyPatch, *arguments: str, **hooks: Any) -> int:
    """Run the command in this process without Ray; returns its exit code."""
    monkeypatch.setattr(engine, "run", without_ray(**hooks))
    monkeypatch.setattr(sys, "argv", ["chord-fl", *arguments])
    with pytest.raises(SystemExit) as exit_:
        main()
    return int(str(exit_.value.code or 0))
