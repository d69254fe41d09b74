"""What every strategy here shares: the two exchanges of a round, the ledger, the rows, and what failed.

A round is Flower's own: `configure_train` may ask the devices for something (a profile), `configure_evaluate` sends
them what they shall run with, and their replies are the round's rows. A new strategy says what it ships
(`pack_shipment`), which action of the ClientApp it calls (`action`), and, if it answers each device apart, what it
sends (`answers`). One that only makes plans in another way subclasses `strategies.chord.PlanStrategy` and defines
`plans` alone.
"""

import time
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy
from numpy.typing import NDArray
from pydantic import BaseModel

from chord_fl.cloud.candidates import sample
from chord_fl.cloud.checkpoint import Trained
from chord_fl.config import Config
from chord_fl.data.interactions import Interactions
from chord_fl.errors import ChordError
from chord_fl.models.layouts import Layout
from chord_fl.models.shipment import fingerprint_of
from chord_fl.report.record import Record, Round
from chord_fl.status import EXPECTED, Status
from chord_fl.wire.candidates import encode_candidates
from chord_fl.wire.ledger import Purpose
from strategies.messages import MODELLED, RESULTS, Reply, Scalar, envelope_bytes, pack, read_replies
from strategies.rounds import duration, going_on, judge, named, settle, without_result

MOST = 0.5  # a round in which more than this share of the devices fails ends the run
_ADDRESS = "-" * 64  # stands for the path of the shipment when bytes are counted, so that the folder does not show


class MostDevicesFailedError(ChordError):
    """A round in which most devices failed: the run stops, what was finished is on disk."""


@dataclass(frozen=True)
class Shipment:
    """What every device downloads once, before its first round."""

    payload: bytes
    sha256: str
    path: Path  # where simulated devices read it: the messages carry its name and hash, as they would carry an address
    matrix_bytes: int  # of the payload, the part that holds trained matrices


class NoOptions(BaseModel):
    """Of a strategy that takes none."""


class DeviceStrategy(Strategy):
    """Base of the strategies of this project; see the module's docstring for what a new one defines."""

    method: ClassVar[str]  # the checkpoint that it needs: "chord" or "full"
    learns: ClassVar[bool] = True  # False: there is no checkpoint, `fit` makes the model at the start of a run
    greeting: ClassVar[str] = "session"  # the action by which nodes say who is there, and download the shipment
    action: ClassVar[str]  # of the ClientApp, in the second exchange
    question: ClassVar[str | None] = None  # the action of the first exchange, if there is one
    heard: ClassVar[tuple[str, ...]] = ("seconds",)  # columns of the replies to it
    Options: ClassVar[type[BaseModel]] = NoOptions  # of `strategy_options`: a model with a field for each

    def __init__(self, config: Config, trained: Trained, shipment: Shipment, record: Record, nodes: int | None) -> None:
        self.config, self.trained, self.shipment, self.record = config, trained, shipment, record
        self._nodes = nodes
        self._started = 0.0
        self._cohorts: dict[int, NDArray[np.int64]] = {}  # node -> its devices, as they said in the first exchange
        self._errors: list[str] = []  # of nodes that answered with an error in this round
        self._failed: list[pd.DataFrame] = []  # rows of devices that failed in the first exchange
        self._first = without_result(np.arange(0), [])  # what each device reported in the first exchange
        self._now = 0.0  # virtual time at the start of the round
        self._provisioned = np.zeros(record.devices, dtype=bool)  # who has downloaded the shipment

    @cached_property
    def options(self) -> Any:
        """`strategy_options` of the configuration, an instance of `Options`."""
        return self.Options.model_validate(self.config.strategy_options)

    # --- what a new strategy defines ---------------------------------------------------------------------------------

    @classmethod
    def fit(cls, config: Config, interactions: Interactions, items: int) -> Trained:
        """The model of a strategy that does not learn, from whole sequences: their last two items are not its to use.

        Only called where `learns` is False.
        """
        raise NotImplementedError(f"{cls.__name__} has a checkpoint")

    @classmethod
    @abstractmethod
    def pack_shipment(cls, config: Config, trained: Trained) -> bytes:
        """Everything that a device downloads once."""

    @classmethod
    def matrix_bytes(cls, config: Config, trained: Trained) -> int:
        """Of the shipment, the bytes that hold matrices; none where these come from a seed."""
        return 0

    @classmethod
    @abstractmethod
    def param_mbit(cls, config: Config, layout: Layout) -> float:
        """Param of the paper's Table 2."""

    def request(self, server_round: int) -> dict[str, Scalar]:
        """Settings of the second exchange, besides those that every exchange has."""
        return {}

    def hear(self, server_round: int, replies: list[Reply]) -> dict[int, NDArray[np.int64]]:
        """Read the replies to `question`; returns the devices of each node that take part in the second exchange."""
        cohorts = {}
        for reply in replies:
            good = going_on(reply.rows)
            out = reply.rows[~good]
            self.fail(out.index.to_numpy(), out["error"].tolist(), out["status"].to_numpy())
            cohorts[reply.node] = reply.rows.index.to_numpy()[good]
        return {node: devices for node, devices in cohorts.items() if len(devices)}

    def answers(self, server_round: int, devices: NDArray[np.int64]) -> dict[Purpose, list[bytes]]:
        """Byte messages for each of `devices` in the second exchange, by the purpose they are accounted under.

        b"" stands for no message.
        """
        return {}

    @property
    def plan_difference(self) -> float:
        """Mean share of channels in which two users' plans of this round differ; NaN without plans."""
        return float("nan")

    @property
    def channels(self) -> pd.DataFrame | None:
        """The bits of every channel over the plans of this round (`report.channels`); None without plans."""
        return None

    # --- Flower's five methods ---------------------------------------------------------------------------------------

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """The first exchange: the question, if there is one. Candidates need one, to know who sits at which node."""
        self._started, self._cohorts, self._errors, self._failed = time.perf_counter(), {}, [], []
        self._first = without_result(np.arange(0), [])
        nodes = wait_for_nodes(grid, self._nodes)
        question = self.question or (self.greeting if self.config.simulation.candidates else None)
        if question is None:
            return []
        content = pack(self._request(server_round))
        self._account_request(server_round, self._request(server_round), f"query.{question}")
        return [Message(content, node, f"query.{question}") for node in nodes]

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """End of the first exchange; there is no global model to change."""
        good, reasons = read_replies(replies, (*self.heard, *MODELLED), self.record.devices)
        self._errors += reasons
        for reply in good:
            judge(reply.rows, self.config.clock.deadline)
        self._first = pd.concat([self._first, *(reply.rows for reply in good)])
        self._cohorts = self.hear(server_round, good)
        return None, None

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """The second exchange: to each node what its devices get, or the same request to all nodes."""
        request, kind = self._request(server_round) | self.request(server_round), f"evaluate.{self.action}"
        if not (self.question or self.config.simulation.candidates):
            self._account_request(server_round, request, kind)
            return [Message(pack(request), node, kind) for node in wait_for_nodes(grid, self._nodes)]
        return [Message(self._content(server_round, request, kind, who), at, kind) for at, who in self._cohorts.items()]

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """End of a round: its rows and its bytes go on record.

        Raises MostDevicesFailedError if most devices have no result.
        """
        columns, nobody = (*RESULTS, *MODELLED), without_result(np.arange(0), [])
        good, reasons = read_replies(replies, columns, self.record.devices, self._cohorts or None)
        self._errors += reasons
        rows = pd.concat([nobody, *(reply.rows for reply in good), *self._failed])
        rows = rows.loc[~rows.index.duplicated(), [*columns, "error"]]
        absent = np.setdiff1d(np.arange(self.record.devices), rows.index)
        if len(absent):
            reason = Counter(self._errors).most_common(1)[0][0] if self._errors else "no reply in time"
            rows = pd.concat([rows, without_result(absent, [reason] * len(absent))[rows.columns]])
        self._close(server_round, rows)
        summary = self.record.summary
        return MetricRecord({name: summary[name] for name in ("ndcg@10", "hr@10")})

    def _close(self, server_round: int, rows: pd.DataFrame) -> None:
        """Put the rows of all devices and the bytes of a round on record. Raises MostDevicesFailedError."""
        rows = settle(rows, self._first, self.config.clock.deadline)
        self._account_shipment(server_round, rows)
        begun, self._now = self._now, self._now + duration(rows, self.config.clock)
        done = Round(server_round, named(rows), self.plan_difference, self._started, begun, self._now, self.channels)
        self.record.add(done)
        failed = rows.loc[rows["status"] == Status.FAILED, "error"]
        counted = int((~rows["status"].isin(EXPECTED)).sum())
        if len(failed) > MOST * counted:
            reason, count = Counter(failed).most_common(1)[0]
            raise MostDevicesFailedError(
                f"round {server_round}: {len(failed)} of {counted} devices failed; most often ({count}): {reason}"
            )

    def summary(self) -> None:
        """Flower calls this to log the strategy's settings; they are in the run's config.toml."""

    def warm_up(self, grid: Grid, count: int) -> None:
        """Let the workers start before the first round is timed: greet `count` of the nodes and wait for their answer.

        What the answers say is ignored: a node that cannot answer will fail in the first round, and say so there.
        """
        started = time.perf_counter()
        nodes = wait_for_nodes(grid, self._nodes)[:count]
        greeting = pack(self._request(0))
        list(grid.send_and_receive([Message(greeting, node, f"query.{self.greeting}") for node in nodes], timeout=600))
        self.record.startup_seconds = time.perf_counter() - started

    # --- what they are made of ---------------------------------------------------------------------------------------

    def fail(
        self, devices: NDArray[np.int64], reasons: Sequence[str], statuses: NDArray[np.int64] | None = None
    ) -> None:
        """Note that `devices` take no further part in this round, and why; their rows carry the reason.

        `statuses` are numbers of `Status`, as their replies had them; a device that announced nothing has failed.
        """
        if len(devices):
            self._failed.append(without_result(devices, list(reasons), statuses))

    def _request(self, server_round: int) -> dict[str, Scalar]:
        where = {"shipment": self.shipment.sha256, "location": str(self.shipment.path)}
        return {"round": server_round, "virtual_time": self._now, **where}

    def _content(
        self, server_round: int, request: dict[str, Scalar], kind: str, devices: NDArray[np.int64]
    ) -> RecordDict:
        """One message for a node, and the entry in the ledger of what each of its devices gets."""
        messages = self._candidates(server_round, devices) | self.answers(server_round, devices)
        for purpose, each in messages.items():
            sizes = np.array([len(message) for message in each], dtype=np.int64)
            sent = sizes > 0  # b"" stands for no message
            one = next((message for message in each if message), b"")
            alone = pack(_weighed(request), {"device": [0]}, {purpose: [one]})
            envelope = envelope_bytes(alone, kind, len(one))
            self.record.ledger.add(server_round, devices[sent], purpose, "down", sizes[sent], envelope)
        return pack(request, {"device": devices}, messages)

    def _candidates(self, server_round: int, devices: NDArray[np.int64]) -> dict[Purpose, list[bytes]]:
        count = self.config.simulation.candidates
        if not count:
            return {}
        items = sample(self.config.seed, server_round, devices, self.trained.model.spec.items, count)
        return {"candidates": encode_candidates(items, self.embeddings[items], self.fingerprint)}

    @property
    def embeddings(self) -> NDArray[np.float32]:
        """What devices get with the id of a candidate, [items + 1, d]; d may be 0."""
        table: NDArray[np.float32] = self.trained.model.backbone.items.weight.detach().numpy()
        return table

    @cached_property
    def fingerprint(self) -> bytes:
        """Of the weights and ladder that the devices hold: what plans, profiles and candidates are marked with."""
        return fingerprint_of(self.shipment.payload)

    def _account_request(self, server_round: int, request: dict[str, Scalar], kind: str) -> None:
        """A message that carries settings only: no payload, but Flower's bytes."""
        envelope = envelope_bytes(pack(_weighed(request)), kind, 0)
        self.record.ledger.add(server_round, np.arange(self.record.devices), "request", "down", 0, envelope)

    def _account_shipment(self, server_round: int, rows: pd.DataFrame) -> None:
        """Enter the download of those that had it in this round; of one that failed nobody knows, so it counts."""
        said = (rows["provisioned"] == server_round) | (rows["status"] == Status.FAILED)
        devices = np.sort(rows.index[said & ~self._provisioned[rows.index]].to_numpy())
        self._provisioned[devices] = True
        envelope = envelope_bytes(pack(payload={"shipment": [b""]}), "query.provision", 0)
        matrices = self.shipment.matrix_bytes
        shared = len(self.shipment.payload) - matrices
        self.record.ledger.add(server_round, devices, "provisioning", "down", shared, envelope)
        if matrices:
            self.record.ledger.add(server_round, devices, "weights", "down", matrices, 0)


def _weighed(request: dict[str, Scalar]) -> dict[str, Scalar]:
    """A request as it counts: with an address instead of a path, without what only the simulation has to know."""
    return {key: value for key, value in request.items() if key != "virtual_time"} | {"location": _ADDRESS}


def wait_for_nodes(grid: Grid, expected: int | None, timeout: float = 60.0) -> list[int]:
    """The ids of all nodes, sorted. Nodes register in a race, so wait for `expected` of them.

    Where the number is not known, wait until two looks half a second apart agree. Raises ChordError after `timeout`
    seconds.
    """
    deadline, before = time.monotonic() + timeout, -1
    while time.monotonic() < deadline:
        nodes = sorted(grid.get_node_ids())
        if len(nodes) == expected or (expected is None and nodes and len(nodes) == before):
            return nodes
        before = len(nodes)
        time.sleep(0.05 if expected is not None else 0.5)
    raise ChordError(f"only {max(before, 0)} of {expected or 'any'} nodes appeared within {timeout:.0f} seconds")
