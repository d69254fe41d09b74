"""What travels between strategy and devices inside Flower's messages, and how big Flower's part of it is.

A message to or from a node carries one list per field, an entry per device of the node's cohort.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict
from flwr.common.serde import recorddict_to_proto
from flwr.proto.message_pb2 import Message as MessageProto
from flwr.proto.message_pb2 import Metadata as MetadataProto
from numpy.typing import ArrayLike, NDArray

from chord_fl.report.record import COLUMNS
from chord_fl.status import Status

Scalar = str | int | float | bool | bytes

RESULTS = (  # columns of a reply in the second exchange, besides `device`
    "rank",
    "rank_stranger",
    "average_bits",
    "memory_bytes",
    "memory_budget_bytes",
    "seconds",
    "adaptation_seconds",
)

DECISIONS = ("seconds", "asked", "drift")  # of a reply in the first exchange, where devices decide to ask for a plan

MODELLED = (  # columns of a reply in either exchange: what the simulated phones are, and what becomes of them
    "status",
    "virtual_seconds",
    "joules",
    "battery",
    "charging",
    "metered",
    "busy",
    "bandwidth_budget_bytes",
    "bits_budget",
    "provisioned",  # the round in which the phone downloaded its model; 0 if not yet
)
TRANSFERS = ("received", "sent")  # of a reply to a Flower strategy: whether weights came down, and an update went up

# columns with a range, from 0 to that; of the first, whole numbers, as a reply has neither texts nor truth values
_CODED = {"status": len(Status) - 1, "asked": 1, "charging": 1, "metered": 1, "busy": 1, "provisioned": 2**31}
_CODED |= dict.fromkeys(TRANSFERS, 1)
_AMOUNTS = {"virtual_seconds": 1e9, "joules": 1e9, "battery": 1.0, "drift": 2.0}
_MAY_LACK = ("drift",)  # columns in which NaN says that there is none

_REQUEST, _DEVICES, _PAYLOAD, _ERRORS = "request", "devices", "payload", "errors"


def pack(
    request: Mapping[str, Scalar] | None = None,
    columns: Mapping[str, ArrayLike] | None = None,
    payload: Mapping[Any, list[bytes]] | None = None,
    errors: Sequence[str] | None = None,
) -> RecordDict:
    """The content of a message: settings of the exchange, numbers, byte messages and errors per device."""
    content = RecordDict()
    if request:
        content[_REQUEST] = ConfigRecord(dict(request))
    if columns:
        content[_DEVICES] = MetricRecord({name: np.asarray(values).tolist() for name, values in columns.items()})
    if payload:
        content[_PAYLOAD] = ConfigRecord(dict(payload))
    if errors is not None and any(errors):
        content[_ERRORS] = ConfigRecord({"error": list(errors)})
    return content


def request_of(message: Message) -> dict[str, Scalar]:
    """The settings of the exchange."""
    return dict(message.content.config_records[_REQUEST])  # type: ignore[arg-type]


@dataclass(frozen=True)
class Reply:
    """What a node sent back, checked."""

    node: int
    rows: pd.DataFrame  # numbers by `device`, and the column `error` ("" where all is well)
    payload: dict[str, list[bytes]]  # byte messages by name, one per row
    content: RecordDict  # as it came


def read_replies(
    replies: Iterable[Message],
    columns: Sequence[str],
    devices: int,
    cohorts: Mapping[int, NDArray[np.int64]] | None = None,
) -> tuple[list[Reply], list[str]]:
    """The replies that can be read, and why the others cannot: a node's error, or a malformed content.

    A reply has all of `columns` and speaks of its own devices, of 0 .. `devices` - 1: those of its node in `cohorts`
    where these are known, and none that another reply spoke of before.
    """
    good, reasons = [], []
    free = np.ones(devices, dtype=bool)
    for reply in replies:
        if reply.has_error():
            reasons.append(_last_line(reply.error.reason or f"error {reply.error.code}"))
            continue
        try:
            read = _read(reply, columns, devices)
            _check_owner(read, free, cohorts)
            good.append(read)
            free[read.rows.index] = False
        except (KeyError, TypeError, ValueError) as error:
            reasons.append(f"malformed reply: {error}")
    return good, reasons


def payload_of(message: Message, name: str) -> list[bytes]:
    """The byte messages `name` of a message to a node, one per device; empty if there are none."""
    record = message.content.config_records.get(_PAYLOAD)
    found = None if record is None else record.get(name)
    return list(found) if isinstance(found, list) else []  # type: ignore[arg-type]


def devices_of(message: Message) -> NDArray[np.int64]:
    """The devices that a message to a node speaks of; its payload has an entry for each."""
    record = message.content.metric_records.get(_DEVICES)
    return np.array([] if record is None else record["device"], dtype=np.int64)


def column_of(message: Message, name: str) -> Any:
    """The numbers `name` of a message to or from a node, one per device, unchecked; empty if there are none."""
    record = message.content.metric_records.get(_DEVICES)
    return [] if record is None else record.get(name, [])


def _read(reply: Message, columns: Sequence[str], devices: int) -> Reply:
    found = reply.content.metric_records[_DEVICES]
    values = {name: _numbers(name, found[name]) for name in ("device", *columns)}
    errors = reply.content.config_records.get(_ERRORS)
    errors_ = [""] * len(values["device"]) if errors is None else _texts(errors["error"])
    rows = pd.DataFrame({**values, "error": np.array(errors_, dtype=object)}).set_index("device")
    if not rows.index.is_unique or not rows.index.isin(np.arange(devices)).all():
        raise ValueError(f"device: a repeated id, or one outside 0..{devices - 1}")
    payload = {name: payload_of(reply, name) for name in reply.content.config_records.get(_PAYLOAD, {})}
    for name, messages in payload.items():
        if len(messages) != len(rows) or not all(isinstance(message, bytes) for message in messages):
            raise ValueError(f"{name}: {len(messages)} entries for {len(rows)} devices, or not bytes")
    return Reply(reply.metadata.src_node_id, rows, payload, reply.content)


def _numbers(name: str, values: Any) -> NDArray[Any]:
    """A column of a reply in the type that it has on record."""
    column, kind = np.asarray(values), np.int64 if name in _CODED else COLUMNS[name]
    if column.ndim != 1 or (column.size and not np.can_cast(column.dtype, kind)):
        raise ValueError(f"{name}: expected a list of finite numbers, {kind.__name__}")
    given = column[~np.isnan(column)] if name in _MAY_LACK else column
    if not np.isfinite(given).all():
        raise ValueError(f"{name}: expected a list of finite numbers, {kind.__name__}")
    most = (_CODED | _AMOUNTS).get(name)
    if most is not None and ((given < 0) | (given > most)).any():
        raise ValueError(f"{name}: expected numbers from 0 to {most:g}")
    return column.astype(kind)


def _texts(values: Any) -> list[str]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError("error: expected a list of texts")
    return list(values)


def _check_owner(reply: Reply, free: NDArray[np.bool_], cohorts: Mapping[int, NDArray[np.int64]] | None) -> None:
    own = free if cohorts is None else np.isin(np.arange(len(free)), cohorts.get(reply.node, [])) & free
    others = reply.rows.index[~own[reply.rows.index]]
    if len(others):
        raise ValueError(f"device: {others[0]} is not one of the node's")


def envelope_bytes(content: RecordDict, kind: str, payload_bytes: int) -> int:
    """Bytes that Flower adds around `payload_bytes` of a message that carries `content` for a single device.

    Measured on the serialized message of the faithful case, one node per device, whatever the cohorts of this run, and
    with identifiers of full width, so that the figure does not change from run to run.
    """
    metadata = MetadataProto(
        run_id=2**64 - 1,
        message_id="0" * 36,
        src_node_id=2**64 - 1,
        dst_node_id=2**64 - 1,
        reply_to_message_id="0" * 36,
        created_at=1.0,
        ttl=1.0,
        message_type=kind,
    )
    message = MessageProto(metadata=metadata, content=recorddict_to_proto(content))
    return int(message.ByteSize()) - payload_bytes


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "unknown error"
