"""A cohort of phones in one exchange of a round: who takes part, what it costs them, and what befalls them.

Checks come in the order in which they would strike. A phone that one of them stops takes no further part in the
exchange: it has a status, a reason, and the seconds and joules that it spent until then.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from chord_fl.config import Config
from chord_fl.device import clock, resources
from chord_fl.device.adaptation import LOW_BATTERY, affordable, bits_budget
from chord_fl.device.availability import online
from chord_fl.device.clock import Load
from chord_fl.device.faults import Faults, damaged, faults
from chord_fl.device.population import Traits, traits
from chord_fl.device.resources import Resources, bandwidth_bytes, pressed
from chord_fl.device.states import State, recharged, state
from chord_fl.models.layouts import Layout
from chord_fl.status import Status

_ROUNDING = 1e-9  # bits per weight: of a division and a product


@dataclass
class Memory:
    """What phones remember from one message to the next, [B] each."""

    round: int
    time: float  # virtual seconds, up to which batteries have charged
    provisioned: NDArray[np.int64]  # the round in which each downloaded its model; 0 if not yet
    drained: NDArray[np.float64]  # joules that the simulation used and charging has not brought back
    moved: NDArray[np.int64]  # bytes in this round
    elapsed: NDArray[np.float64]  # seconds of this round

    @classmethod
    def fresh(cls, count: int) -> "Memory":
        """Of phones that have never taken part."""
        zeros = np.zeros(count)
        return cls(0, 0.0, zeros.astype(np.int64), zeros.copy(), zeros.astype(np.int64), zeros.copy())

    def enter(self, round: int) -> None:
        """Begin a round."""
        if round != self.round:
            self.round, self.moved, self.elapsed = round, np.zeros_like(self.moved), np.zeros_like(self.elapsed)

    def charge(self, joules: NDArray[np.float64], until: float) -> None:
        """Bring back so many joules, as far as they are missing."""
        self.drained, self.time = np.maximum(self.drained - joules, 0.0), until


@dataclass(frozen=True)
class Phones:
    """Devices `first .. first + B - 1` in a round that began at virtual time `time`."""

    config: Config
    round: int
    time: float
    first: int
    layout: Layout  # of the frozen weights, whose share of a phone is its memory budget
    shipment_bytes: int
    memory: Memory

    @property
    def count(self) -> int:
        """B."""
        return len(self.memory.drained)

    @property
    def binding(self) -> bool:
        """Whether budgets and states stop a phone."""
        return self.config.population.constrain

    @cached_property
    def traits(self) -> Traits:
        """What they are."""
        return traits(self.config.population.source, self.config.seed, self.first, self.count)

    @cached_property
    def state(self) -> State:
        """What they are doing."""
        if self.time > self.memory.time:
            since = self.memory.time
            self.memory.charge(recharged(self.traits, self.config.seed, self.first, since, self.time), self.time)
        return state(self.traits, self.config.seed, self.first, self.time, self.memory.drained)

    @cached_property
    def resources(self) -> Resources:
        """What they have to spare, under the pressure of their states where that binds."""
        seed, weights = self.config.seed, self.layout.weights
        found = resources.draw(self.traits, self.state, seed, self.round, self.first, 4 * weights, weights)
        if self.binding:
            found = pressed(found, self.state, self.config.clock.busy_share, weights)
        limit = self.config.simulation.bits_limit
        return found if limit is None else replace(found, compute=np.minimum(found.compute, limit * weights))

    @cached_property
    def bandwidth(self) -> NDArray[np.int64]:
        """Bytes that they may move in the round."""
        return bandwidth_bytes(self.traits, self.state, self.resources)

    @cached_property
    def faults(self) -> Faults:
        """What may befall them in the round."""
        return faults(self.config.faults, self.config.seed, self.round, self.first, self.count)

    def online(self, seconds: NDArray[np.float64] | float) -> NDArray[np.bool_]:
        """Who is there, so many seconds into the round."""
        return online(
            self.config.population.availability, self.config.seed, self.first, self.count, self.time + seconds
        )


class Exchange:
    """The exchange of some of the phones, `rows` [n] of the cohort. Arrays are [n] unless said otherwise."""

    def __init__(self, phones: Phones, rows: NDArray[np.int64] | None = None) -> None:
        self.phones = phones
        self.rows = np.arange(phones.count) if rows is None else rows
        self.status = np.full(len(self.rows), int(Status.OK))
        self.reasons = np.full(len(self.rows), "", dtype=object)
        self._load = Load(*(np.zeros(len(self.rows), dtype=kind) for kind in (np.int64, np.int64, float, np.int64)))
        self.seconds, self.joules = np.zeros(len(self.rows)), np.zeros(len(self.rows))
        self._damaged = np.zeros(len(self.rows), dtype=bool)  # whose answer was
        phones.memory.enter(phones.round)

    @property
    def alive(self) -> NDArray[np.bool_]:
        """Who still takes part."""
        return np.asarray(self.status == Status.OK)

    @property
    def errors(self) -> list[str]:
        """Why there is no result, "" where there is one."""
        return [str(reason) for reason in self.reasons]

    def stop(self, where: NDArray[np.bool_], status: Status, reason: str, *values: NDArray[Any]) -> None:
        """End the exchange for those that `where` names and nothing stopped before.

        `reason` has a place for each of `values`.
        """
        hit = where & self.alive
        self.status[hit] = status
        rows = zip(*(each[hit].tolist() for each in values), strict=True)
        self.reasons[hit] = [reason.format(*row) for row in rows] if values else reason

    def appear(self, taking_part: NDArray[np.bool_]) -> None:
        """Those that are not there stay out, and before them those whose users are not `taking_part` [B] yet."""
        self.stop(~taking_part[self.rows], Status.WAITING, "")
        self.stop(~self.phones.online(0.0)[self.rows], Status.OFFLINE, "offline")

    def move(self, down: NDArray[np.int64] | int = 0, up: NDArray[np.int64] | int = 0) -> None:
        """Transfer payloads of so many bytes, and the model where a phone does not have it yet."""
        memory, rows = self.phones.memory, self.rows
        first_time = memory.provisioned[rows] == 0
        down = np.broadcast_to(down, rows.shape) + first_time * self.phones.shipment_bytes
        total = memory.moved[rows] + down + up
        if self.phones.binding:
            allowed = self.phones.bandwidth[rows]
            reason = "cannot move {:,} bytes in a round: {:,} allowed"
            self.stop(total > allowed, Status.CANNOT_HOLD, reason, total, allowed)
        going = self.alive
        memory.provisioned[rows[going & first_time]] = self.phones.round
        memory.moved[rows[going]] = total[going]
        self._load.down_bytes[going] += down[going]  # type: ignore[index]
        self._load.up_bytes[going] += np.broadcast_to(up, rows.shape)[going]  # type: ignore[index]

    def leave(self) -> None:
        """Some are gone before the answer is there."""
        self.stop(self.phones.faults.leaves[self.rows], Status.DROPPED, "left during the round")

    def receive(self, messages: list[bytes]) -> list[bytes]:
        """What arrives of answers: b"" for none, and of those that never reach a phone."""
        found, rows, sent = self.phones.faults, self.rows, _there(messages)
        self.stop(found.answer_lost[rows] & sent, Status.LOST, "answer lost on its way")
        here = [message if alive else b"" for message, alive in zip(messages, self.alive, strict=True)]
        hit = found.answer_damaged[rows] & sent & self.alive
        self._damaged |= hit
        return damaged(here, hit, found.places[rows, 1])

    def lose(self, what: Literal["update", "answer"]) -> None:
        """Weights that never arrive whole: the `update` that goes up, or the `answer` that comes down."""
        found, rows = self.phones.faults, self.rows
        up, down = (found.profile_lost, found.profile_damaged), (found.answer_lost, found.answer_damaged)
        lost, damaged_ = up if what == "update" else down
        self.stop(lost[rows], Status.LOST, f"{what} lost on its way")
        self.stop(damaged_[rows], Status.CORRUPTED, f"{what} damaged on its way")

    def refuse(self, refusals: Sequence[str | None]) -> None:
        """Messages that could not be read: the fault of the way where it damaged them, a failure elsewhere."""
        words = np.array([refusal or "" for refusal in refusals], dtype=object)
        hit = np.asarray(words != "", dtype=bool)
        self.stop(hit & self._damaged, Status.CORRUPTED, "{}", words)
        self.stop(hit, Status.FAILED, "{}", words)

    def hold(self, memory_bytes: NDArray[np.int64] | int, bits: NDArray[np.float64] | float | None) -> None:
        """Stop those whose memory a model of this size exceeds, or whose processor or battery its average bits."""
        if not self.phones.binding:
            return
        found, weights = self.phones.resources.of(self.rows), self.phones.layout.weights
        needed, budget = np.broadcast_to(memory_bytes, self.rows.shape), found.memory_bytes
        self.stop(needed > budget, Status.CANNOT_HOLD, "cannot hold {:,} bytes: {:,} to spare", needed, budget)
        if bits is not None:
            allowed, wanted = affordable(found, weights) / weights, np.broadcast_to(bits, self.rows.shape)
            reason = "cannot run {:.2f} bits per weight: processor and battery allow {:.2f}"
            self.stop(wanted > allowed + _ROUNDING, Status.CANNOT_HOLD, reason, wanted, allowed)

    def compute(self, operations: NDArray[np.float64] | float, read_bytes: NDArray[np.int64] | int) -> None:
        """Spend so many operations on so many bytes."""
        going = self.alive
        self._load.operations[going] += np.broadcast_to(operations, self.rows.shape)[going]  # type: ignore[index]
        self._load.read_bytes[going] += np.broadcast_to(read_bytes, self.rows.shape)[going]  # type: ignore[index]

    def end(self, last: bool = True) -> None:
        """Account for the seconds and joules; some batteries do not last, and some phones are gone by now."""
        phones, rows, memory = self.phones, self.rows, self.phones.memory
        now, found, constants = phones.state.of(rows), phones.resources.of(rows), phones.config.clock
        spent = clock.model(constants.cost)(self._load, phones.traits.score[rows], found, now, constants, last)
        left = now.battery * phones.traits.battery_joules[rows]
        empty = spent.joules >= left
        if last:
            empty |= (now.battery < LOW_BATTERY) & phones.faults.battery_dies[rows]
        self.stop(empty & ~now.charging, Status.BATTERY, "battery empty")
        self.seconds, self.joules = spent.seconds, np.minimum(spent.joules, np.where(now.charging, np.inf, left))
        memory.elapsed[rows] += self.seconds
        memory.drained[rows] += np.where(now.charging, 0.0, self.joules)
        if last:
            self.stop(~phones.online(memory.elapsed)[rows], Status.DROPPED, "left during the round")

    def upload(self, messages: list[bytes]) -> list[bytes]:
        """What the cloud receives of profiles: nothing of phones that were stopped, damaged ones as they arrive.

        b"" stands for no message: a phone that sends none can lose none.
        A lost one is handed over as well, for the ledger of what was sent; its status says that it counts for nothing.
        """
        found, rows = self.phones.faults, self.rows
        sent = [message if here else b"" for message, here in zip(messages, self.alive, strict=True)]
        there = _there(sent)
        hit = found.profile_damaged[rows] & there
        sent = damaged(sent, hit, found.places[rows, 0])
        self.stop(found.profile_lost[rows] & there, Status.LOST, "profile lost on its way")
        # whether the damage is noticed is for the cloud to find out: the status only says what a refusal comes from
        self.status[hit] = Status.CORRUPTED
        return sent

    def columns(self) -> dict[str, NDArray[np.generic]]:
        """What the simulation notes about every phone, by the names of `report.record.COLUMNS`."""
        phones, rows = self.phones, self.rows
        return {
            "status": self.status,
            "virtual_seconds": self.seconds,
            "joules": self.joules,
            "battery": phones.state.battery[rows],
            **{name: getattr(phones.state, name)[rows].astype(np.int64) for name in ("charging", "metered", "busy")},
            "bandwidth_budget_bytes": phones.bandwidth[rows],
            "bits_budget": bits_budget(phones.resources.of(rows), phones.layout.sizes),
            "provisioned": phones.memory.provisioned[rows],
        }


def _there(messages: Sequence[bytes]) -> NDArray[np.bool_]:
    return np.array([len(message) > 0 for message in messages], dtype=bool)
