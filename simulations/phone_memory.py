"""What the phones of a node remember between messages, in Flower's node state: a few numbers per phone."""

from dataclasses import fields
from typing import Any

import numpy as np
from flwr.app import ConfigRecord, Context

from chord_fl.device.phones import Memory

_KEY = "phones"
_EACH = tuple(field.name for field in fields(Memory)[2:])  # with a number per phone; round and time are one for all


def recall(context: Context, count: int) -> Memory:
    """The memory of the node's `count` phones; a fresh one if they never took part."""
    record = context.state.config_records.get(_KEY)
    fresh = Memory.fresh(count)
    if record is None:
        return fresh
    kept: dict[str, Any] = dict(record)
    arrays = {name: np.frombuffer(kept[name], dtype=getattr(fresh, name).dtype).copy() for name in _EACH}
    return Memory(kept["round"], kept["time"], **arrays)


def remember(context: Context, memory: Memory) -> None:
    """Keep it for the next message."""
    arrays = {name: getattr(memory, name).tobytes() for name in _EACH}
    context.state[_KEY] = ConfigRecord({"round": memory.round, "time": memory.time, **arrays})
