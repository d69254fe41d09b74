"""What the actions of the ClientApp are made of: how an exchange begins, what came with it, and what it replies.

An action answers for every device of a cohort that a message names, or for all of it. What goes wrong for one device is
that device's error, what goes wrong for all of them is the error of each: nothing is raised to Flower.
"""

import time
from collections.abc import Callable
from functools import wraps
from math import nan
from typing import Any

import numpy as np
import torch
from flwr.app import Context, Error, Message
from flwr.common.constant import ErrorCode
from numpy.typing import NDArray

from chord_fl.blocks import computed
from chord_fl.config import Config
from chord_fl.device import operations
from chord_fl.device.model import DeviceModel
from chord_fl.device.phones import Exchange, Phones
from chord_fl.device.ranking import Candidates, Local
from chord_fl.models.matrices import FULL_PRECISION_BITS
from chord_fl.status import Status
from chord_fl.wire.candidates import decode_candidates
from simulations.cohort import Cohort, cohort_of
from simulations.phone_memory import remember
from strategies.messages import MODELLED, TRANSFERS, devices_of, pack, payload_of

Columns = dict[str, Any]


Action = Callable[[Cohort, Message], Message]


def guarded(action: Action) -> Callable[[Message, Context], Message]:
    """Turn an exception into the error of every device of the cohort; even a cohort that cannot be found answers."""

    @wraps(action)
    def answer(message: Message, context: Context) -> Message:
        cohort = None
        try:
            cohort = cohort_of(message, context)
            reply = action(cohort, message)
            remember(context, cohort.memory)
            return reply
        except Exception as error:  # a device must not take the round down with it
            reason = f"{type(error).__name__}: {error}".splitlines()[0][:300]
            devices = devices_of(message)  # those asked; a message that names none asks the whole cohort
            if not len(devices) and cohort:
                devices = cohort.devices
            if not len(devices):  # nobody to answer for: the node's error, or the reason would be lost
                return Message(Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason), reply_to=message)
            return Message(failure(devices, reason), reply_to=message)

    return answer


def failure(devices: NDArray[np.int64], reason: str) -> Any:
    """The content of a reply in which none of `devices` has a result."""
    columns = results(
        devices, **{**dict.fromkeys((*MODELLED, "asked", *TRANSFERS), 0), "status": int(Status.FAILED), "drift": nan}
    )
    return pack(columns=columns, errors=[reason] * len(devices))


def with_shared_weights(
    cohort: Cohort,
    model: DeviceModel,
    message: Message,
    exchange: Exchange,
    adapting: int,
    rank: Callable[[Local, Candidates | None], tuple[NDArray[np.int64], float]],
) -> Columns:
    """The columns of a reply with the ranks that `rank` finds, and the seconds that it spent on adapting.

    `model` is what the devices of `exchange` hold, `adapting` the operations that adapting takes.
    """
    bits, memory = model.average_bits, model.memory_bytes or 0
    if bits is None:
        raise ValueError("this model came without trained weights")
    devices, rows = cohort.devices[exchange.rows], exchange.rows
    candidates = received_candidates(cohort, message, exchange)
    exchange.hold(memory, bits)
    ranking = operations.ranking(model.spec, cohort.config.simulation.candidates)
    unpacking = operations.unpacking(model.layout) if bits < FULL_PRECISION_BITS else 0
    exchange.compute(adapting + ranking + unpacking, memory + scored_bytes(cohort))
    exchange.end()
    going = np.flatnonzero(exchange.alive)
    mine = cohort.local.of(rows[going])  # loaded before the clock starts
    started = time.perf_counter()
    ranks, adaptation = rank(mine, among(candidates, going))
    return results(
        devices,
        rank=placed(ranks, going, devices),
        average_bits=bits,
        memory_bytes=memory,
        memory_budget_bytes=exchange.phones.resources.memory_bytes[rows],
        seconds=(time.perf_counter() - started) / computed(len(going)),
        adaptation_seconds=adaptation / computed(len(going)),
        **exchange.columns(),
    )


def present(cohort: Cohort, phones: Phones, message: Message) -> Message:
    """Reply with who is there and has the model. A greeting before the first round is of no phone's life."""
    exchange = Exchange(phones)
    if phones.round:
        exchange.appear(cohort.taking_part)
        exchange.move()
        exchange.end(last=False)
    columns = {"device": cohort.devices, "seconds": np.zeros(cohort.count), **exchange.columns()}
    return Message(pack(columns=columns, errors=exchange.errors), reply_to=message)


def begin(cohort: Cohort, phones: Phones, message: Message, down: int = 0) -> Exchange:
    """The last exchange of a round of those whom `message` names, or of all, up to what it brings.

    That is candidates, and `down` bytes besides.
    """
    asked = devices_of(message)
    exchange = Exchange(phones, asked - phones.first if len(asked) else None)
    exchange.appear(cohort.taking_part)
    exchange.leave()
    exchange.move(down=payload_bytes(message, "candidates") + down)
    return exchange


def payload_bytes(message: Message, name: str) -> NDArray[np.int64] | int:
    """Of the byte messages `name`, one per device; 0 if there are none."""
    messages = payload_of(message, name)
    return sizes(messages) if messages else 0


def sizes(messages: list[bytes]) -> NDArray[np.int64]:
    """Bytes of each message, [n]."""
    return np.array([len(message) for message in messages], dtype=np.int64)


def scored_bytes(cohort: Cohort) -> int:
    """Of the embeddings that a ranking reads."""
    spec = cohort.model.spec
    return 4 * spec.dim * (cohort.config.simulation.candidates or spec.items)


def among(candidates: Candidates | None, rows: NDArray[np.int64]) -> Candidates | None:
    """The candidates of some devices."""
    return None if candidates is None else Candidates(candidates.items[rows], candidates.embeddings[rows])


def placed(values: NDArray[np.int64], rows: NDArray[np.int64], devices: NDArray[np.int64]) -> NDArray[np.int64]:
    """`values` of `rows` among all `devices`, 0 elsewhere."""
    placed = np.zeros(devices.shape, dtype=np.int64)
    placed[rows] = values
    return placed


def received_candidates(cohort: Cohort, message: Message, exchange: Exchange) -> Candidates | None:
    """The candidates that came with `message` for the devices of `exchange`; see `received_candidates_of`."""
    targets, known = cohort.local.targets[torch.from_numpy(exchange.rows)], cohort.model.backbone.items.weight
    return received_candidates_of(cohort.config, message, exchange, cohort.model.fingerprint, known, targets)


def received_candidates_of(
    config: Config,
    message: Message,
    exchange: Exchange,
    fingerprint: bytes,
    known: torch.Tensor,
    targets: torch.Tensor,
) -> Candidates | None:
    """The candidates that came with `message`, None for the full catalogue; what is refused stops its device.

    The held-out item takes the last place where it is not among them: what is measured is how it ranks against the
    others (the protocol of sampled metrics; not comparable with full ranking). Its embedding is in `known` [n + 1, d].
    """
    messages = payload_of(message, "candidates")
    if not messages:
        return None
    items, embeddings, refusals = decode_candidates(
        exchange.receive(messages),
        *(fingerprint, config.simulation.candidates, known.shape[1], len(known) - 1),
    )
    exchange.refuse(refusals)
    chosen_items, vectors = torch.from_numpy(items.astype(np.int64)), torch.from_numpy(embeddings)
    absent = ~(chosen_items == targets[:, None]).any(1)
    chosen_items[absent, -1] = targets[absent]
    vectors[absent, -1] = known[targets[absent]]
    return Candidates(chosen_items, vectors)


def results(devices: NDArray[np.int64], **known: Any) -> Columns:
    """The columns of a reply, with zeros for what is not `known`."""
    integers = dict.fromkeys(("rank", "rank_stranger", "memory_bytes", "memory_budget_bytes"), 0)
    numbers = dict.fromkeys(("average_bits", "seconds", "adaptation_seconds"), 0.0)
    values = {**integers, **numbers, **known}
    return {"device": devices, **{name: np.broadcast_to(value, devices.shape) for name, value in values.items()}}
