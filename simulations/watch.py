"""What a run has done so far, seen where its messages pass: who was asked, who answered, which rounds are finished.

Flower hands a strategy the replies of an exchange when all are there; a progress display wants them as they come.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import nan
from typing import Any

import numpy as np
from flwr.app import Message

from chord_fl.metrics import ndcg
from chord_fl.report.record import Record
from chord_fl.wire.ledger import PURPOSES
from strategies.messages import column_of, devices_of, request_of

_COUNTED: Any = tuple(purpose for purpose in PURPOSES if purpose != "control")


@dataclass(frozen=True)
class Standing:
    """Where a run stands."""

    rounds: int  # that there will be
    round: int = 0  # that is going on, from 1; 0 while the engine starts
    finished: int = 0  # rounds that are on record
    action: str = ""  # what the devices are asked to do
    done: int = 0  # devices that have answered in this exchange
    asked: int = 0
    ndcg: float = nan  # NDCG@10 over the finished rounds; in the first one, over those who have answered
    bytes: int = 0  # payloads so far, both directions
    rate: float = nan  # devices per second; a device counts once a round
    left: float = nan  # seconds, as the rounds went so far


class Watch:
    """Counts what passes. `changed` is called with the new standing after everything that happens."""

    def __init__(
        self,
        record: Record,
        rounds: int,
        changed: Callable[[Standing], None] = lambda standing: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.standing = Standing(rounds)
        self._record, self._changed, self._clock = record, changed, clock
        self._started: float | None = None
        self._exchanges = 0  # of this round
        self._ranked, self._gained = 0, 0.0  # devices of the first round that have a rank, and their NDCG@10
        record.listeners.append(self.finished)

    def follow(self, grid: Any) -> None:
        """Count the messages that pass through Flower's `grid` from now on."""
        push, pull = grid.push_messages, grid.pull_messages

        def push_messages(messages: Iterable[Message]) -> Iterable[str]:
            sent = list(messages)
            self.sent(sent)
            ids: Iterable[str] = push(sent)
            return ids

        def pull_messages(message_ids: Iterable[str]) -> Iterable[Message]:
            replies = list(pull(message_ids))
            self.arrived(replies)
            return replies

        grid.push_messages, grid.pull_messages = push_messages, pull_messages

    def sent(self, messages: list[Message]) -> None:
        """An exchange begins. A greeting, which belongs to no round, is left out."""
        if not messages or _round_of(messages[0]) == 0:
            return
        if self._started is None:
            self._started = self._clock()
        self._exchanges += 1
        named = sum(len(devices_of(message)) for message in messages)
        action = messages[0].metadata.message_type
        self._show(round=self.standing.finished + 1, action=action, done=0, asked=named or self._record.devices)

    def arrived(self, replies: list[Message]) -> None:
        """Some nodes have answered."""
        if not replies or not self._exchanges:
            return
        devices = 0
        for reply in replies:
            if reply.has_content():  # an error speaks for nobody: the round's end counts its devices
                devices += _length(column_of(reply, "device"))
                self._rank(column_of(reply, "rank"))
        self._show(done=min(self.standing.done + devices, self.standing.asked))

    def finished(self, row: Mapping[str, Any]) -> None:
        """A round is on record."""
        self._exchanges = 0
        self._show(finished=int(row["round"]), done=self.standing.asked)

    def _rank(self, column: Any) -> None:
        """Take the ranks of a reply, which nobody has checked yet: what cannot be read is not shown."""
        try:
            ranks = np.asarray(column, dtype=np.int64)
        except (TypeError, ValueError, OverflowError):
            return
        ranks = ranks[ranks > 0]
        self._ranked, self._gained = self._ranked + len(ranks), self._gained + float(ndcg(ranks, 10).sum())

    def _show(self, **changes: Any) -> None:
        known = vars(self.standing) | changes
        share = known["done"] / max(known["asked"], 1)
        last = known["action"].startswith("evaluate")  # exchange of a round, perhaps its only one
        within = 1 - (1 - share) / max(self._exchanges, 1) if last else share / 2
        done = known["finished"] + (within if self._exchanges else 0.0)
        elapsed = 0.0 if self._started is None else self._clock() - self._started
        if elapsed and done:
            known |= {"rate": done * self._record.devices / elapsed, "left": elapsed / done * (known["rounds"] - done)}
        so_far = self._record.summary
        first = self._gained / self._ranked if self._ranked else nan
        bytes_ = so_far.get("uplink_bytes", 0) + so_far.get("downlink_bytes", 0)
        if self._exchanges:
            bytes_ += self._record.ledger.payload(known["finished"] + 1, _COUNTED)
        self.standing = Standing(**known | {"ndcg": so_far.get("ndcg@10", first), "bytes": bytes_})
        self._changed(self.standing)


def _round_of(message: Message) -> Any:
    try:
        return request_of(message).get("round")
    except KeyError:  # a strategy of somebody else's need not say
        return None


def _length(column: Any) -> int:
    return len(column) if isinstance(column, list) else 0
