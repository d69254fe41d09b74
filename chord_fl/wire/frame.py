"""The frame around every plan and profile: who it is for, what is inside, and whether it arrived whole.

A message is a header of 16 bytes, little endian, and a payload:

    offset  bytes  field
    0       3      magic, b"CHD"
    3       1      version of the frame, 1
    4       1      kind: 1 plan, 2 profile, 3 candidates
    5       1      format of the payload; each kind numbers its own
    6       4      fingerprint of the model: frozen weights, ladder and shared parameters
    10      2      length of the payload
    12      4      CRC-32 of the 12 bytes above and the payload
    16             payload

A flipped bit in a plan would decode silently to hundreds of wrong channels, hence the checksum. It is compared before
kind and model, so that a damaged message is not reported as somebody else's.
"""

import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from chord_fl.errors import WireError

MAX_BYTES = 64 * 1024

_MAGIC = b"CHD"
_VERSION = 1
_HEAD = struct.Struct("<3sBBB4sH")
_CHECKSUM = struct.Struct("<I")
HEADER_BYTES = _HEAD.size + _CHECKSUM.size


class Kind(IntEnum):
    """What a message carries."""

    PLAN = 1
    PROFILE = 2
    CANDIDATES = 3


class NotBytesError(WireError):
    """The message is not a `bytes` object."""


class OversizedError(WireError):
    """The message is above the maximum, or longer than its header says."""


class TruncatedError(WireError):
    """The message is shorter than a header, or than its header says."""


class ForeignMessageError(WireError):
    """The message does not start with the magic: it is not one of this project's."""


class UnsupportedVersionError(WireError):
    """The message is of another version of the frame."""


class ChecksumMismatchError(WireError):
    """The message was damaged on its way."""


class WrongKindError(WireError):
    """A plan where a profile is expected, or the reverse."""


class WrongModelError(WireError):
    """The message belongs to other frozen weights or another ladder."""


class UnsupportedFormatError(WireError):
    """The payload is of a format that the reader does not know."""


class WrongLengthError(WireError):
    """The payload is not as long as its format and the reader's model require."""


class InvalidContentError(WireError):
    """The payload holds a value that no encoder writes."""


def complaint(field: str, found: object, expected: object) -> str:
    """The text of every refusal: the field, the value found and what was expected."""
    return f"{field}: found {found}, expected {expected}"


def seal(kind: Kind, format: int, fingerprint: bytes, payload: bytes) -> bytes:
    """Put a header before `payload`.

    Raises ValueError for a fingerprint that is not 4 bytes, and for a payload that would take the message above 64 KiB.
    """
    if len(fingerprint) != 4:
        raise ValueError(complaint("fingerprint", f"{len(fingerprint)} bytes", "4"))
    if HEADER_BYTES + len(payload) > MAX_BYTES:
        raise ValueError(complaint("payload", f"{len(payload)} bytes", f"at most {MAX_BYTES - HEADER_BYTES}"))
    head = _HEAD.pack(_MAGIC, _VERSION, kind, format, fingerprint, len(payload))
    return head + _CHECKSUM.pack(zlib.crc32(payload, zlib.crc32(head))) + payload


def unseal(message: bytes, kind: Kind, fingerprint: bytes) -> tuple[int, bytes]:
    """The format code and the payload of a message of `kind` for the model `fingerprint`.

    Raises the subclass of WireError that names the first thing wrong; nothing is computed on a message above 64 KiB.
    """
    if not isinstance(message, bytes):
        raise NotBytesError(complaint("message", type(message).__name__, "bytes"))
    if len(message) > MAX_BYTES:
        raise OversizedError(complaint("message", f"{len(message)} bytes", f"at most {MAX_BYTES}"))
    if len(message) < HEADER_BYTES:
        raise TruncatedError(complaint("message", f"{len(message)} bytes", f"a header of {HEADER_BYTES}"))
    magic, version, found_kind, format, found_fingerprint, length = _HEAD.unpack_from(message)
    if magic != _MAGIC:
        raise ForeignMessageError(complaint("magic", magic.hex(), _MAGIC.hex()))
    if version != _VERSION:
        raise UnsupportedVersionError(complaint("version", version, _VERSION))
    payload = message[HEADER_BYTES:]
    if len(payload) < length:
        raise TruncatedError(complaint("payload", f"{len(payload)} bytes", length))
    if len(payload) > length:
        raise OversizedError(complaint("payload", f"{len(payload)} bytes", length))
    (checksum,) = _CHECKSUM.unpack_from(message, _HEAD.size)
    computed = zlib.crc32(payload, zlib.crc32(message[: _HEAD.size]))
    if checksum != computed:
        raise ChecksumMismatchError(complaint("checksum", f"{checksum:08x}", f"{computed:08x}"))
    if found_kind != kind:
        raise WrongKindError(complaint("kind", found_kind, f"{int(kind)} ({kind.name.lower()})"))
    if found_fingerprint != fingerprint:
        raise WrongModelError(complaint("fingerprint", found_fingerprint.hex(), fingerprint.hex()))
    return format, payload


@dataclass(frozen=True)
class Payloads:
    """The good messages of a batch that share a format."""

    format: int
    rows: NDArray[np.int64]  # [n], their places in the batch
    data: NDArray[np.uint8]  # [n, length]


def seal_each(kind: Kind, format: int, fingerprint: bytes, data: NDArray[np.uint8]) -> list[bytes]:
    """One message per row of `data` [B, length]; raises as `seal`."""
    length, together = data.shape[1], data.tobytes()
    return [
        seal(kind, format, fingerprint, together[row * length : (row + 1) * length]) for row in range(data.shape[0])
    ]


def unseal_each(
    messages: Sequence[bytes], kind: Kind, fingerprint: bytes, lengths: Mapping[int, int]
) -> tuple[list[Payloads], list[WireError | None]]:
    """Open a batch; `lengths` gives the payload's length in each format that the reader knows.

    A bad message costs nobody else's: the second value says, per message, why it was refused, or None.
    """
    errors: list[WireError | None] = [None] * len(messages)
    opened: dict[int, tuple[list[int], list[bytes]]] = {format: ([], []) for format in lengths}
    for row, message in enumerate(messages):
        try:
            format, payload = unseal(message, kind, fingerprint)
            if format not in lengths:
                raise UnsupportedFormatError(complaint("format", format, f"one of {sorted(lengths)}"))
            if len(payload) != lengths[format]:
                raise WrongLengthError(complaint("payload", f"{len(payload)} bytes", lengths[format]))
        except WireError as error:
            errors[row] = error
        else:
            opened[format][0].append(row)
            opened[format][1].append(payload)
    batches = []
    for format, (rows, payloads) in opened.items():
        data = np.frombuffer(b"".join(payloads), dtype=np.uint8).reshape(len(rows), lengths[format])
        batches.append(Payloads(format, np.array(rows, dtype=np.int64), data))
    return batches, errors


def texts(errors: Sequence[WireError | None]) -> list[str | None]:
    """Refusals as the lines that go into a report, None where a message was good."""
    return [None if error is None else str(error) for error in errors]
