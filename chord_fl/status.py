"""What becomes of a device in a round: a result, or why there is none."""

from enum import IntEnum


class Status(IntEnum):
    """One per device and round. `devices.parquet` has the name in lower case."""

    OK = 0  # it has a result
    FAILED = 1  # something broke that should not have: an exception, a malformed reply, no reply
    OFFLINE = 2  # not there when the round began
    DROPPED = 3  # left before the round was over
    LATE = 4  # done after the deadline
    LOST = 5  # a message to or from it never arrived
    CORRUPTED = 6  # a message to or from it arrived damaged, and was refused
    BATTERY = 7  # its battery ran out
    CANNOT_HOLD = 8  # memory, processor, battery or link do not allow what its method asks of it
    WAITING = 9  # its user has done too little to take part yet
    NOT_SAMPLED = 10  # the strategy asked it for no result in this round


EXPECTED = tuple(status for status in Status if status > Status.FAILED)  # losses that a population is simulated with
ABSENT = (Status.OFFLINE, Status.WAITING, Status.NOT_SAMPLED)  # of devices that no round asks for a result
UNASKED = (Status.WAITING, Status.NOT_SAMPLED)  # nothing went wrong: the others without a result have an error


def word(status: Status) -> str:
    """The name of a status in tables and summaries."""
    return status.name.lower()
