import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from chord_fl.wire import frame
from chord_fl.wire.frame import Kind, seal
from chord_fl.wire.plans import decode_plan, decode_plans, encode_plans

MODEL = b"\x01\x02\x03\x04"
OTHER = b"\x09\x09\x09\x09"

plans = hnp.arrays(
    np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=40), elements=st.integers(0, 3)
).filter(lambda codes: codes.shape[1] > 0)


@settings(deadline=None)
@given(plans)
def test_every_plan_survives_the_wire(codes: NDArray[np.uint8]) -> None:
    messages = encode_plans(codes, MODEL)
    decoded, errors = decode_plans(messages, MODEL, codes.shape[1])
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, codes)
    assert errors == [None] * len(codes)
    for message, plan in zip(messages, codes, strict=True):
        np.testing.assert_array_equal(decode_plan(message, MODEL, codes.shape[1]), plan)


def test_a_plan_of_1280_channels_takes_320_bytes_and_a_header() -> None:
    (message,) = encode_plans(np.zeros((1, 1280), np.uint8), MODEL)
    assert len(message) == 320 + 16


def test_the_first_channel_is_in_the_low_bits() -> None:
    (message,) = encode_plans(np.array([[3, 0, 1, 2, 1]], np.uint8), MODEL)
    assert message[16:] == bytes([0b10_01_00_11, 0b01])


@settings(deadline=None)
@given(plans.filter(lambda codes: len(codes) >= 1), st.data())
def test_a_bad_message_costs_nobody_elses_plan(codes: NDArray[np.uint8], data: st.DataObject) -> None:
    messages: list[bytes] = encode_plans(codes, MODEL)
    bad = data.draw(st.sets(st.integers(0, len(codes) - 1)))
    for row in bad:
        spoiled = [messages[row][:-1], b"", None, encode_plans(codes[row : row + 1], OTHER)[0], messages[row] + b"x"]
        messages[row] = data.draw(st.sampled_from(spoiled))  # type: ignore[assignment]
    decoded, errors = decode_plans(messages, MODEL, codes.shape[1])
    for row, (error, plan) in enumerate(zip(errors, decoded, strict=True)):
        assert (error is not None) == (row in bad)
        np.testing.assert_array_equal(plan, np.zeros_like(plan) if row in bad else codes[row])


def test_a_second_encoding_of_a_plan_is_refused() -> None:
    good = encode_plans(np.array([[3, 0, 1, 2, 1]], np.uint8), MODEL)[0]
    padded = seal(Kind.PLAN, 1, MODEL, bytes([0b10_01_00_11, 0b0001_0001]))
    with pytest.raises(frame.InvalidContentError, match="padding"):
        decode_plan(padded, MODEL, 5)
    decoded, errors = decode_plans([padded, good], MODEL, 5)
    assert not decoded[0].any() and "padding" in str(errors[0])
    assert decoded[1].tolist() == [3, 0, 1, 2, 1] and errors[1] is None


def test_a_plan_for_another_number_of_channels_is_refused() -> None:
    (message,) = encode_plans(np.ones((1, 8), np.uint8), MODEL)
    for channels in (3, 9):
        with pytest.raises(frame.WrongLengthError, match="payload: found 2 bytes"):
            decode_plan(message, MODEL, channels)


def test_an_unknown_format_and_a_profile_are_refused() -> None:
    with pytest.raises(frame.UnsupportedFormatError, match="format: found 9"):
        decode_plan(seal(Kind.PLAN, 9, MODEL, bytes(2)), MODEL, 8)
    with pytest.raises(frame.WrongKindError):
        decode_plan(seal(Kind.PROFILE, 1, MODEL, bytes(2)), MODEL, 8)


@pytest.mark.parametrize(
    "codes", [np.array([[0, 4]], np.uint8), np.array([[0, 255]], np.uint8), np.zeros((1, 2)), np.zeros(4, np.uint8)]
)
def test_what_is_no_plan_is_not_encoded(codes: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match="codes"):
        encode_plans(codes, MODEL)
