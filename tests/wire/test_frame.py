import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chord_fl.errors import WireError
from chord_fl.wire import frame
from chord_fl.wire.frame import Kind, seal, unseal

MODEL = b"\x01\x02\x03\x04"


def resealed(message: bytes, offset: int, value: bytes) -> bytes:
    """The message with other header bytes and a checksum that fits them."""
    head = bytearray(message[:12])
    head[offset : offset + len(value)] = value
    payload = message[16:]
    return bytes(head) + struct.pack("<I", zlib.crc32(bytes(head) + payload)) + payload


def test_the_bytes_of_a_message_are_the_documented_ones() -> None:
    head = bytes.fromhex("434844 01 02 03 01020304 0500".replace(" ", ""))
    expected = head + zlib.crc32(head + b"hello").to_bytes(4, "little") + b"hello"
    assert seal(Kind.PROFILE, 3, MODEL, b"hello") == expected


@settings(deadline=None)
@given(st.sampled_from(Kind), st.integers(0, 255), st.binary(min_size=4, max_size=4), st.binary(max_size=300))
def test_what_is_sealed_comes_out(kind: Kind, format: int, fingerprint: bytes, payload: bytes) -> None:
    assert unseal(seal(kind, format, fingerprint, payload), kind, fingerprint) == (format, payload)


@settings(deadline=None)
@given(st.binary(max_size=40), st.data())
def test_every_flipped_bit_is_refused(payload: bytes, data: st.DataObject) -> None:
    message = bytearray(seal(Kind.PLAN, 1, MODEL, payload))
    bit = data.draw(st.integers(0, 8 * len(message) - 1))
    message[bit // 8] ^= 1 << bit % 8
    with pytest.raises(WireError):
        unseal(bytes(message), Kind.PLAN, MODEL)


@settings(deadline=None)
@given(st.binary(max_size=40), st.data())
def test_every_truncation_and_every_tail_is_refused(payload: bytes, data: st.DataObject) -> None:
    message = seal(Kind.PLAN, 1, MODEL, payload)
    with pytest.raises(frame.TruncatedError):
        unseal(message[: data.draw(st.integers(0, len(message) - 1))], Kind.PLAN, MODEL)
    with pytest.raises(frame.OversizedError):
        unseal(message + data.draw(st.binary(min_size=1, max_size=20)), Kind.PLAN, MODEL)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused_by_name(message: bytes) -> None:
    with pytest.raises(WireError):
        unseal(message, Kind.PLAN, MODEL)


@pytest.mark.parametrize(
    ("offset", "value", "error", "text"),
    [
        (0, b"XYZ", frame.ForeignMessageError, "magic: found 58595a, expected 434844"),
        (3, b"\x02", frame.UnsupportedVersionError, "version: found 2, expected 1"),
        (4, b"\x02", frame.WrongKindError, "kind: found 2, expected 1 (plan)"),
        (6, b"\xff\xff\xff\xff", frame.WrongModelError, "fingerprint: found ffffffff, expected 01020304"),
        (10, b"\x04\x00", frame.TruncatedError, "payload: found 3 bytes, expected 4"),
    ],
)
def test_a_wrong_field_is_named_with_both_values(offset: int, value: bytes, error: type[WireError], text: str) -> None:
    message = seal(Kind.PLAN, 1, MODEL, b"abc")
    with pytest.raises(error) as refusal:
        unseal(resealed(message, offset, value), Kind.PLAN, MODEL)
    assert str(refusal.value) == text


def test_damage_is_not_reported_as_somebody_elses_message() -> None:
    message = bytearray(seal(Kind.PLAN, 1, MODEL, b"abc"))
    message[7] ^= 1  # inside the fingerprint
    with pytest.raises(frame.ChecksumMismatchError, match="checksum: found [0-9a-f]{8}, expected [0-9a-f]{8}"):
        unseal(bytes(message), Kind.PLAN, MODEL)


@pytest.mark.parametrize("message", [None, "text", 7, bytearray(20), memoryview(bytes(20)), [1, 2]])
def test_anything_that_is_not_bytes_is_refused(message: object) -> None:
    with pytest.raises(frame.NotBytesError, match=f"found {type(message).__name__}, expected bytes"):
        unseal(message, Kind.PLAN, MODEL)  # type: ignore[arg-type]


def test_the_largest_message_passes_and_one_byte_more_does_not() -> None:
    largest = bytes(frame.MAX_BYTES - frame.HEADER_BYTES)
    assert unseal(seal(Kind.PLAN, 1, MODEL, largest), Kind.PLAN, MODEL) == (1, largest)
    with pytest.raises(ValueError, match="payload"):
        seal(Kind.PLAN, 1, MODEL, largest + b"\x00")
    with pytest.raises(frame.OversizedError, match="at most 65536"):
        unseal(bytes(frame.MAX_BYTES + 1), Kind.PLAN, MODEL)


@pytest.mark.parametrize("fingerprint", [b"", b"abc", b"abcde"])
def test_a_fingerprint_has_four_bytes(fingerprint: bytes) -> None:
    with pytest.raises(ValueError, match="fingerprint"):
        seal(Kind.PLAN, 1, fingerprint, b"")
