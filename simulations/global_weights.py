"""What the ClientApp does for strategies that know only Flower: train the global weights, and rank under them.

Flower's convention: a message carries one record of arrays and the strategy's settings, a reply to `train` one record
of arrays and one of numbers, a reply to `evaluate` one of numbers. Besides, both have what our own messages have.
"""

import math
import time
from dataclasses import replace

import numpy as np
import torch
from flwr.app import Message, MetricRecord
from numpy.typing import NDArray

from chord_fl.blocks import computed
from chord_fl.device import operations
from chord_fl.device.finetuning import Layers
from chord_fl.device.phones import Exchange
from chord_fl.device.ranking import ranks_of_weights
from chord_fl.device.updates import mean_update
from chord_fl.metrics import METRICS, means
from chord_fl.models.matrices import FULL_PRECISION_BITS
from chord_fl.status import Status
from simulations.actions import begin, scored_bytes, with_shared_weights
from simulations.cohort import Cohort
from strategies.arrays import ARRAYS, NUMBERS, array_bytes, read_arrays, record_bytes, write_arrays
from strategies.messages import devices_of, pack

_MU = "proximal-mu"  # as Flower's FedProx calls it


def train(cohort: Cohort, message: Message) -> Message:
    """Every device trains a copy of the global weights on its own history; the reply is their mean by examples.

    In it are those who are there to the end, in time, and whose update arrives.
    """
    start, down, layout = _global(cohort, message), _arriving(message), cohort.model.layout
    steps, rate, mu = int(cohort.request["steps"]), float(cohort.request["learning_rate"]), _proximal_mu(message)
    exchange = Exchange(cohort.phones, devices_of(message) - cohort.first)
    exchange.appear(cohort.taking_part)
    exchange.move(down=down)
    received = exchange.alive
    memory = 4 * layout.weights
    exchange.hold(memory, FULL_PRECISION_BITS)
    exchange.compute(operations.finetuning(cohort.model.spec, steps), memory + scored_bytes(cohort))
    exchange.move(up=array_bytes(layout))
    exchange.end(last=False)
    sent = exchange.alive
    exchange.lose("update")
    going = _in_time(exchange)
    history = cohort.local.history[torch.from_numpy(exchange.rows[going])]  # loaded before the clock starts
    started = time.perf_counter()
    update = mean_update(cohort.model, history, start, steps, rate, mu)
    seconds = (time.perf_counter() - started) / computed(len(going))
    diverged = np.zeros(len(exchange.rows), dtype=bool)
    diverged[going] = ~update.finite
    exchange.stop(diverged, Status.FAILED, "update: not a finite number")
    columns = {"seconds": np.full(len(sent), seconds), "received": received, "sent": sent}
    content = pack(columns=_whole(cohort, exchange, columns), errors=exchange.errors)
    content[NUMBERS] = MetricRecord({"num-examples": update.examples, "train_loss": update.loss})
    if update.examples:
        content[ARRAYS] = write_arrays(layout, update.weights, update.biases)
    return Message(content, reply_to=message)


def evaluate(cohort: Cohort, message: Message) -> Message:
    """Rank under the global weights."""
    (weights, biases), down = _global(cohort, message), _arriving(message)
    memory = 4 * cohort.model.layout.weights
    model = replace(cohort.model, weights=weights, average_bits=FULL_PRECISION_BITS, memory_bytes=memory)
    exchange = begin(cohort, cohort.phones, message, down)
    received = exchange.alive
    exchange.lose("answer")
    columns = with_shared_weights(
        cohort,
        model,
        message,
        exchange,
        0,
        lambda mine, candidates: (ranks_of_weights(model, mine, weights, candidates, biases), 0.0),
    )
    content = pack(columns={**columns, "received": received.astype(np.int64)}, errors=exchange.errors)
    ranks = columns["rank"][_in_time(exchange)]
    numbers = means(ranks) if len(ranks) else dict.fromkeys(METRICS, 0.0)
    content[NUMBERS] = MetricRecord({"num-examples": len(ranks), **numbers})
    return Message(content, reply_to=message)


def _global(cohort: Cohort, message: Message) -> Layers:
    """The global weights [out, in] and biases [out] in `message`. Raises WireError."""
    weights, biases = read_arrays(next(iter(message.content.array_records.values())), cohort.model.layout)
    return [torch.from_numpy(part) for part in weights], [torch.from_numpy(part) for part in biases]


def _arriving(message: Message) -> int:
    return sum(record_bytes(record) for record in message.content.array_records.values())


def _in_time(exchange: Exchange) -> NDArray[np.int64]:
    """Places of those that count: nothing stopped them, and they are not past the deadline, which the cloud keeps."""
    deadline, elapsed = exchange.phones.config.clock.deadline, exchange.phones.memory.elapsed[exchange.rows]
    return np.flatnonzero(exchange.alive & (elapsed <= (math.inf if deadline is None else deadline)))


def _proximal_mu(message: Message) -> float:
    """The weight of FedProx's proximal term, 0 where the strategy sends none. Raises ValueError."""
    for record in message.content.config_records.values():
        if _MU in record:
            mu = record[_MU]
            if not isinstance(mu, int | float) or not math.isfinite(mu) or mu < 0:
                raise ValueError(f"{_MU}: found {mu!r}, expected a finite number, 0 or more")
            return float(mu)
    return 0.0


def _whole(
    cohort: Cohort, exchange: Exchange, columns: dict[str, NDArray[np.generic]]
) -> dict[str, NDArray[np.generic]]:
    """With the ids of the devices and what the simulation notes about every phone; truth values as numbers."""
    numbers = {name: values.astype(np.int64) if values.dtype == bool else values for name, values in columns.items()}
    return {"device": cohort.devices[exchange.rows], **numbers, **exchange.columns()}
