"""A run in this process, without Ray: drives a strategy and the real ClientApp, for tests of strategies.

`simulate(config, folder)` is all that most tests need. Every message and reply is serialised to bytes and back, as it
would be on its way, and may be tampered with there (`on_message`, `on_reply`).
"""

import logging
import random
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from flwr.app import Context, Error, Message, RecordDict
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.message_pb2 import Message as MessageProto
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from chord_fl.cloud.checkpoint import Trained
from chord_fl.cloud.training import one_thread
from chord_fl.config import Config
from simulations import client_app, prepare
from simulations.run import Result
from simulations.server_app import run_rounds
from simulations.settings import exported
from strategies.base import DeviceStrategy

Hook = Callable[[Message, int], Message | None]  # (message, place of the node) -> what goes on from there, if anything
Client = Callable[[Message, Context], Message]

_RUN_ID = 7


def unchanged(message: Message, place: int) -> Message:
    """The hook that does nothing."""
    return message


def only(place: int, hook: Hook, kind: str = "") -> Hook:
    """`hook` for one node, in messages of a type that contains `kind`; the others pass."""
    return lambda message, at: hook(message, at) if at == place and kind in message.metadata.message_type else message


class InProcessGrid(Grid):
    """Nodes with random ids whose ClientApp runs here, one message after the other; replies come back shuffled."""

    def __init__(
        self,
        nodes: int,
        *,
        seed: int = 0,
        on_message: Hook = unchanged,
        on_reply: Hook = unchanged,
        client: Client = client_app.app,
    ) -> None:
        chance = random.Random(seed)
        ids = [chance.getrandbits(64) for _ in range(nodes)]
        self._contexts = {
            node: Context(_RUN_ID, node, {"partition-id": place, "num-partitions": nodes}, RecordDict(), {})
            for place, node in enumerate(ids)
        }
        self._chance, self._on_message, self._on_reply, self._client = chance, on_message, on_reply, client
        self.sent: list[Message] = []  # as the nodes received them
        self.received: list[Message] = []  # as the strategy received them

    @property
    def run(self) -> Run:
        """An empty one."""
        return Run.create_empty(_RUN_ID)

    def set_run(self, run: Run) -> None:
        """Not needed here."""
        raise NotImplementedError

    def create_message(self, *args: Any, **kwargs: Any) -> Message:
        """Not needed here."""
        raise NotImplementedError

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Not needed here: strategies send and receive."""
        raise NotImplementedError

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Not needed here: strategies send and receive."""
        raise NotImplementedError

    def get_node_ids(self) -> Iterable[int]:
        """All nodes, in any order."""
        return self._chance.sample(list(self._contexts), len(self._contexts))

    def place(self, node: int) -> int:
        """The partition-id of a node."""
        return int(self._contexts[node].node_config["partition-id"])

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """The replies to `messages`, in any order."""
        replies = [reply for message in messages if (reply := self._exchange(message)) is not None]
        self._chance.shuffle(replies)
        return replies

    def _exchange(self, message: Message) -> Message | None:
        node = message.metadata.dst_node_id
        place = self.place(node)
        arrived = self._on_message(transported(message), place)
        if arrived is None:
            return None
        self.sent.append(arrived)
        try:
            reply = self._client(arrived, self._contexts[node])
        except Exception as error:  # what Flower makes of an exception in a ClientApp
            reply = Message(Error(2, f"{type(error)}:<'{error}'>"), reply_to=arrived)
        returned = self._on_reply(transported(reply), place)
        if returned is not None:
            self.received.append(returned)
        return returned


def transported(message: Message) -> Message:
    """What arrives of `message` on the other side of a wire."""
    proto = message_to_proto(message)
    proto.metadata.message_id = proto.metadata.message_id or str(uuid.uuid4())
    return message_from_proto(MessageProto.FromString(proto.SerializeToString()))


@contextmanager
def flower_task() -> Iterator[None]:
    """Messages can be built only inside a Flower task."""
    before = dict(vars(TaskIdentity))
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, _RUN_ID, 1
    try:
        yield
    finally:
        for name in ("_task_id", "_run_id", "_node_id"):
            setattr(TaskIdentity, name, before[name])


@dataclass(frozen=True)
class Finished(Result):
    """What a run left, and who ran."""

    strategy: DeviceStrategy
    grid: InProcessGrid

    def by_purpose(self, round_: int = 1) -> pd.DataFrame:
        """Payload and envelope bytes [device, purpose] of a round."""
        rows = self.ledger[self.ledger["round"] == round_].astype({"purpose": str})
        sums = rows.groupby(["device", "purpose"])[["payload_bytes", "envelope_bytes"]].sum()
        return pd.DataFrame(sums.unstack("purpose"))


def settle(config: Config, folder: Path, nodes: int | None = None) -> tuple[DeviceStrategy, Trained]:
    """The strategy that `config` names, ready in `folder` with its checkpoint, as `simulations` prepares it."""
    devices = prepare.check(config).users
    model = prepare.trained(config, prepare.strategy_class(config).method)
    return prepare.strategy(config, model, devices, prepare.make_folder(folder), nodes), model


def simulate(config: Config, folder: Path, nodes: int = 3, **hooks: Any) -> Finished:
    """Run `config` over `nodes` in this process; `hooks` are InProcessGrid's. Raises what the strategy raises."""
    strategy, _ = settle(config, folder, nodes)
    finished = Finished(folder, strategy, InProcessGrid(nodes, **hooks))
    go(finished, config)
    return finished


def go(finished: Finished, config: Config) -> None:
    """All rounds of a run that has been prepared."""
    logging.getLogger("flwr").setLevel(logging.CRITICAL)
    with exported(config), flower_task(), one_thread():  # as a worker of the engine has it
        run_rounds(finished.grid, finished.strategy, config)
