"""Hosted: a strategy that knows only Flower (FedAvg, FedProx, ...), unmodified, on the devices of this project.

The strategy sees a grid with one node per device. What it sends is carried in cohorts, one message for all devices of a
node that get the same, and their mean comes back as one reply; with one device per node every reply is a device's own.
Training fine-tunes the matrices and biases that `finetune` does, from the model that `finetune` ships; the rest of the
model is downloaded once. Everything that goes on record is read off the messages: the strategy need not know.
"""

import math
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.app.exception import AppExitException
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result
from numpy.typing import NDArray

from chord_fl.cloud.checkpoint import Trained
from chord_fl.config import Config
from chord_fl.errors import ChordError
from chord_fl.metrics import METRICS
from chord_fl.models.layouts import Layout
from chord_fl.models.shipment import pack as pack_model
from chord_fl.report.record import Record
from chord_fl.status import Status
from chord_fl.wire.param import full_precision_mbit
from strategies.arrays import ARRAYS, NUMBERS, array_bytes, read_arrays, record_bytes, write_arrays
from strategies.base import DeviceStrategy, Shipment, wait_for_nodes
from strategies.device_grid import DeviceGrid
from strategies.loading import guest
from strategies.messages import (
    MODELLED,
    RESULTS,
    TRANSFERS,
    Reply,
    Scalar,
    envelope_bytes,
    pack,
    read_replies,
)
from strategies.rounds import judge, without_result

_NUMBERS = {"train": ("train_loss",), "evaluate": METRICS}  # of a reply, besides its number of examples
_MOST_EXAMPLES = 2**40


@dataclass(frozen=True)
class _Parcel:
    """The devices of one node that get the same content, and the messages of the strategy that it stands for."""

    node: int
    devices: NDArray[np.int64]
    messages: dict[int, Message]  # by device

    @property
    def content(self) -> RecordDict:
        return next(iter(self.messages.values())).content

    @property
    def kind(self) -> str:
        return next(iter(self.messages.values())).metadata.message_type

    @property
    def arrays(self) -> ArrayRecord:
        return next(iter(self.content.array_records.values()))


class Hosted(DeviceStrategy):
    """Runs the strategy that the configuration names by its own `start`, and keeps the record."""

    method = "full"
    action = "default"  # of Flower's train and evaluate

    def __init__(self, config: Config, trained: Trained, shipment: Shipment, record: Record, nodes: int | None) -> None:
        super().__init__(config, trained, shipment, record, nodes)
        self.guest = guest(config)
        self._node = np.full(record.devices, -1, dtype=object)  # of each device, -1 while unknown
        self._round = 0
        self._had: list[str] = []  # exchanges of the round that is not closed

    # --- what a strategy says of itself ------------------------------------------------------------------------------

    @classmethod
    def pack_shipment(cls, config: Config, trained: Trained) -> bytes:
        """Shared parameters; the matrices come with every message."""
        return pack_model(trained.model.spec, trained.model.backbone)

    @classmethod
    def param_mbit(cls, config: Config, layout: Layout) -> float:
        """32·(W + B), of one message in one direction."""
        return full_precision_mbit(layout)

    def request(self, server_round: int) -> dict[str, Scalar]:
        """How the devices shall train: as `finetune` does."""
        return {"steps": self.config.finetune.steps, "learning_rate": self.config.finetune.learning_rate}

    # --- the run -----------------------------------------------------------------------------------------------------

    def start(
        self,
        grid: Grid,
        initial_arrays: ArrayRecord,
        num_rounds: int = 3,
        timeout: float = 3600,
        train_config: ConfigRecord | None = None,
        evaluate_config: ConfigRecord | None = None,
        evaluate_fn: Callable[[int, ArrayRecord], MetricRecord | None] | None = None,
    ) -> Result:
        """Let the hosted strategy start from the trained matrices; `initial_arrays` are not used.

        Raises ChordError for a strategy that sends what no device here understands, or nothing at all.
        """
        model = self.trained.model
        layout = model.spec.layout
        biases = [bias.detach().numpy() for bias in model.backbone.biases]
        arrays = write_arrays(layout, [matrix.numpy() for matrix in model.matrices()], biases)
        self._below = grid
        devices = DeviceGrid(self.record.devices, self.config.seed, grid.run, self._exchange)
        before = random.getstate()
        try:
            result = self.guest.start(devices, arrays, num_rounds, timeout, train_config, evaluate_config, evaluate_fn)
        except AppExitException as error:  # Flower's own words for an aggregation that cannot be done
            raise ChordError(f"strategy = {self.config.strategy!r}: {error}") from error
        finally:
            random.setstate(before)
        self._close_round()
        if not self._round:
            raise ChordError(f"strategy = {self.config.strategy!r}: it asked no device for anything")
        return result

    def _exchange(self, messages: list[Message], timeout: float | None) -> list[Message]:
        """Carry out `messages` of the strategy, and return the replies that it gets."""
        if not messages:
            return []
        kind = self._kind(messages)
        if kind in self._had or (kind == "train" and self._had):
            self._close_round()
        if not self._had:
            self._begin_round()
        self._had.append(kind)
        parcels = self._parcels(messages)
        columns = ("seconds", *TRANSFERS, *MODELLED) if kind == "train" else (*RESULTS, "received", *MODELLED)
        replies = self._send(parcels, kind, timeout, columns)
        handed = [answer for reply in replies if (answer := self._handed(reply, parcels, kind)) is not None]
        if kind == "evaluate":
            self._close_round()
        return [answer for _, answer in sorted(handed, key=lambda pair: pair[0])]  # sums in one order, whoever is first

    def _kind(self, messages: list[Message]) -> str:
        kinds = {message.metadata.message_type for message in messages}
        if len(kinds) > 1 or not kinds <= set(_NUMBERS):
            raise ChordError(
                f"strategy = {self.config.strategy!r}: it sends {', '.join(sorted(kinds))} at once; devices here "
                f"answer {' or '.join(_NUMBERS)}"
            )
        return kinds.pop()

    # --- a round -----------------------------------------------------------------------------------------------------

    def _begin_round(self) -> None:
        self._round += 1
        self._started, self._errors, self._failed = time.perf_counter(), [], []
        self._first, self._rows = without_result(np.arange(0), []), without_result(np.arange(0), [])
        if (self._node == -1).any():
            self._locate()

    def _locate(self) -> None:
        """Ask the nodes who sits there. Those of a node that does not answer are asked again in the next round."""
        nodes = wait_for_nodes(self._below, self._nodes)
        greeting = pack(self._request(0))
        messages = [Message(greeting, node, f"query.{self.greeting}") for node in nodes]
        replies = self._below.send_and_receive(messages, timeout=self.config.simulation.timeout)
        good, reasons = read_replies(replies, ("seconds", *MODELLED), self.record.devices)
        self._errors += reasons
        for reply in good:
            self._node[reply.rows.index.to_numpy()] = reply.node

    def _parcels(self, messages: list[Message]) -> list[_Parcel]:
        """One for each node and content, of the devices that nothing stopped in this round."""
        stopped = np.concatenate([np.zeros(0, dtype=np.int64), *(rows.index.to_numpy() for rows in self._failed)])
        out = set(stopped.tolist())
        found: dict[tuple[int, int], dict[int, Message]] = {}
        lost: list[int] = []
        if len({message.metadata.dst_node_id for message in messages}) < len(messages):
            raise ChordError(f"strategy = {self.config.strategy!r}: it sends a node two messages at once")
        for message in messages:
            device = message.metadata.dst_node_id - 1
            if not 0 <= device < self.record.devices:
                raise ChordError(
                    f"strategy = {self.config.strategy!r}: it sends to {device + 1}, which is no node here"
                )
            if len(message.content.array_records) != 1:
                raise ChordError(
                    f"strategy = {self.config.strategy!r}: it sends {len(message.content.array_records)} records of "
                    "arrays; devices here expect one"
                )
            if self._node[device] == -1:
                lost.append(device)
            elif device not in out:
                found.setdefault((self._node[device], id(message.content)), {})[device] = message
        reason = Counter(self._errors).most_common(1)[0][0] if self._errors else "its node does not answer"
        self.fail(np.array(sorted(set(lost) - out), dtype=np.int64), [reason] * len(set(lost) - out))
        return [_Parcel(node, np.array(sorted(group), dtype=np.int64), group) for (node, _), group in found.items()]

    def _send(self, parcels: list[_Parcel], kind: str, timeout: float | None, columns: tuple[str, ...]) -> list[Reply]:
        """The replies that can be read; who is in none has failed. Rows and bytes are on record."""
        request, sent = self._request(self._round) | self.request(self._round), []
        cohorts: dict[int, NDArray[np.int64]] = {}
        for parcel in parcels:
            ours = (
                pack(request, {"device": parcel.devices})
                if kind == "train"
                else self._content(self._round, request, parcel.kind, parcel.devices)
            )
            both = set(ours) & set(parcel.content)
            if both:
                raise ChordError(f"strategy = {self.config.strategy!r}: it sends a record {min(both)!r}, our own name")
            sent.append(Message(RecordDict({**parcel.content, **ours}), parcel.node, parcel.kind))
            cohorts[parcel.node] = np.concatenate([cohorts.get(parcel.node, parcel.devices[:0]), parcel.devices])
        replies = self._below.send_and_receive(sent, timeout=timeout)
        good, reasons = read_replies(replies, columns, self.record.devices, cohorts)
        self._errors += reasons
        asked = np.concatenate([np.zeros(0, dtype=np.int64), *cohorts.values()])
        absent = np.setdiff1d(asked, np.concatenate([asked[:0], *(reply.rows.index.to_numpy() for reply in good)]))
        if len(absent):
            reason = Counter(self._errors).most_common(1)[0][0] if self._errors else "no reply in time"
            self.fail(absent, [reason] * len(absent))
        received = {int(device) for reply in good for device in reply.rows.index[reply.rows["received"] == 1]}
        received |= set(absent.tolist())  # of those that failed nobody knows, so it counts
        self._account_down(parcels, received)
        for reply in good:
            judge(reply.rows, self.config.clock.deadline)
        return good

    def _handed(self, reply: Reply, parcels: list[_Parcel], kind: str) -> tuple[int, Message] | None:
        """What the strategy gets of a reply, after the first device that it speaks for; None where nobody answers."""
        devices = reply.rows.index.to_numpy()
        counts = reply.rows["status"] == Status.OK
        if kind == "train":
            out = reply.rows[~counts]
            self._account_up(devices[(reply.rows["sent"] == 1).to_numpy()])
        try:
            answer = self._checked(reply, kind) if counts.any() else None
        except (ChordError, KeyError, TypeError, ValueError) as error:
            self.fail(devices, [f"malformed reply: {error}"] * len(devices))
            return None
        if kind == "train":
            self._first = pd.concat([self._first, reply.rows])
            self.fail(out.index.to_numpy(), out["error"].tolist(), out["status"].to_numpy())
        else:
            self._rows = pd.concat([self._rows, reply.rows])
        if answer is None:
            return None
        first = int(devices[counts.to_numpy()].min())
        parcel = next(parcel for parcel in parcels if first in parcel.messages)
        return first, Message(answer, reply_to=parcel.messages[first])

    def _checked(self, reply: Reply, kind: str) -> RecordDict | None:
        """The records of Flower's convention, read as what they must be; None for those of nobody.

        Raises ChordError, KeyError or ValueError, naming the field.
        """
        found, expected = reply.content.metric_records[NUMBERS], ("num-examples", *_NUMBERS[kind])
        if set(found) != set(expected):  # a strategy that averages expects the same of all
            raise ValueError(f"{NUMBERS}: found {', '.join(sorted(found))}, expected {', '.join(expected)}")
        numbers = {name: _finite(name, found[name]) for name in expected}
        if not 0 <= numbers["num-examples"] <= _MOST_EXAMPLES:
            raise ValueError(f"num-examples: found {numbers['num-examples']}, expected 0 to {_MOST_EXAMPLES}")
        if not numbers["num-examples"]:
            return None
        answer = RecordDict({NUMBERS: MetricRecord({**numbers})})
        if kind == "train":
            layout = self.trained.model.spec.layout
            answer[ARRAYS] = write_arrays(layout, *read_arrays(reply.content.array_records[ARRAYS], layout))
        return answer

    def _close_round(self) -> None:
        """All devices get a row: those that ranked, those that something stopped, and those that nobody asked."""
        if not self._had:
            return
        self._had = []
        rows = pd.concat([*self._failed, self._rows])
        rows = rows.loc[~rows.index.duplicated(), [*RESULTS, *MODELLED, "error"]]
        others = np.setdiff1d(np.arange(self.record.devices), rows.index)
        unasked = without_result(others, [""] * len(others), np.full(len(others), int(Status.NOT_SAMPLED)))
        self._close(self._round, pd.concat([rows, unasked[rows.columns]]))

    # --- bytes -------------------------------------------------------------------------------------------------------

    def _account_down(self, parcels: list[_Parcel], received: set[int]) -> None:
        """The weights that a strategy sent: their numbers as payload, all else of its message as the envelope."""
        measured: dict[int, tuple[int, int]] = {}
        for parcel in parcels:
            if id(parcel.content) not in measured:
                payload = record_bytes(parcel.arrays)
                measured[id(parcel.content)] = payload, envelope_bytes(parcel.content, parcel.kind, payload)
            who = [device for device in parcel.devices.tolist() if device in received]
            self.record.ledger.add(
                self._round, np.array(who, dtype=np.int64), "weights", "down", *measured[id(parcel.content)]
            )

    def _account_up(self, devices: NDArray[np.int64]) -> None:
        """The updates that went up, each as large as the model."""
        payload = array_bytes(self.trained.model.spec.layout)
        self.record.ledger.add(self._round, devices, "weights", "up", payload, self._update_envelope)

    @property
    def _update_envelope(self) -> int:
        """Of the update of a single device."""
        layout = self.trained.model.spec.layout
        zeros = [np.zeros((layer.channels, layer.size), dtype=np.float32) for layer in layout.layers]
        biases = [np.zeros(layer.channels, dtype=np.float32) for layer in layout.layers]
        numbers = MetricRecord({"num-examples": 1, "train_loss": 0.5})
        alone = RecordDict({ARRAYS: write_arrays(layout, zeros, biases), NUMBERS: numbers})
        return envelope_bytes(alone, "train", array_bytes(layout))


def _finite(name: str, value: object) -> float:
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name}: found {value!r:.40}, expected a finite number")
    return value
