import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from chord_fl.wire.frame import Kind, seal
from chord_fl.wire.profiles import ProfileFormat, decode_profiles, encode_profiles

MODEL = b"\x01\x02\x03\x04"
FORMATS: list[ProfileFormat] = ["float32", "float16", "int8"]

profiles_up_to_60000 = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=20),
    elements=st.floats(-60000, 60000, width=32, allow_subnormal=False),
)


@settings(deadline=None)
@given(profiles_up_to_60000)
def test_float32_is_exact_and_float16_is_the_nearest_half(profiles: NDArray[np.float32]) -> None:
    expectations: dict[ProfileFormat, NDArray[np.float32]] = {
        "float32": profiles,
        "float16": profiles.astype(np.float16).astype(np.float32),
    }
    for format, expected in expectations.items():
        decoded, errors = decode_profiles(encode_profiles(profiles, MODEL, format), MODEL, profiles.shape[1])
        assert decoded.dtype == np.float32 and errors == [None] * len(profiles)
        np.testing.assert_array_equal(decoded, expected)


@settings(deadline=None)
@given(profiles_up_to_60000)
def test_int8_is_within_half_a_scale_and_symmetric(profiles: NDArray[np.float32]) -> None:
    decoded, _ = decode_profiles(encode_profiles(profiles, MODEL, "int8"), MODEL, profiles.shape[1])
    largest = np.abs(profiles.astype(np.float64)).max(axis=1, keepdims=True)
    # rounded up to a float16: 2^-10 of itself more at most, or the smallest half
    scale = largest / 127 * (1 + 2.0**-10) + 2.0**-24
    assert (np.abs(decoded - profiles) <= scale / 2 * (1 + 1e-5)).all()
    mirrored, _ = decode_profiles(encode_profiles(-profiles, MODEL, "int8"), MODEL, profiles.shape[1])
    np.testing.assert_array_equal(mirrored, -decoded)


@pytest.mark.parametrize(("format", "size"), [("float32", 256), ("float16", 128), ("int8", 66)])
def test_the_bytes_of_64_numbers(format: ProfileFormat, size: int) -> None:
    profiles = np.tanh(np.random.default_rng(0).normal(size=(20, 64))).astype(np.float32)
    messages = encode_profiles(profiles, MODEL, format)
    assert {len(message) for message in messages} == {size + 16}
    decoded, _ = decode_profiles(messages, MODEL, 64)
    cosine = (decoded * profiles).sum(1) / np.linalg.norm(decoded, axis=1) / np.linalg.norm(profiles, axis=1)
    assert (1 - cosine).max() < 4e-5


def test_the_documented_bytes() -> None:
    profile = np.array([[1.0, -0.5]], np.float32)
    assert encode_profiles(profile, MODEL, "float32")[0][16:] == bytes.fromhex("0000803f 000000bf")
    assert encode_profiles(profile, MODEL, "float16")[0][16:] == bytes.fromhex("003c 00b8")
    whole = np.array([[127.0, -64.0, 1.0]], np.float32)
    assert encode_profiles(whole, MODEL, "int8")[0][16:] == bytes.fromhex("003c 7f c0 01")


@pytest.mark.parametrize("format", FORMATS)
def test_zeros_and_the_smallest_numbers_pass(format: ProfileFormat) -> None:
    profiles = np.zeros((2, 3), np.float32)
    profiles[1, 0] = 1e-20
    decoded, errors = decode_profiles(encode_profiles(profiles, MODEL, format), MODEL, 3)
    assert errors == [None, None]
    np.testing.assert_allclose(decoded, profiles, atol=2.0**-24)


def test_a_batch_may_mix_formats_and_loses_only_the_bad() -> None:
    profiles = np.array([[1.0, 0.5], [0.25, -1.0], [2.0, 2.0], [0.0, 1.0]], np.float32)
    messages = [encode_profiles(profiles, MODEL, format)[row] for row, format in enumerate([*FORMATS, "float32"])]
    messages[2] = messages[2][:-1]
    decoded, errors = decode_profiles(messages, MODEL, 2)
    np.testing.assert_array_equal(decoded[[0, 1, 3]], profiles[[0, 1, 3]])
    assert not decoded[2].any()
    assert [error is None for error in errors] == [True, True, False, True]


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused_and_named(number: float) -> None:
    finite = np.ones(3, "<f4")
    wrong = np.array([1, number, number])
    messages = [
        seal(Kind.PROFILE, 1, MODEL, wrong.astype("<f4").tobytes()),
        seal(Kind.PROFILE, 2, MODEL, wrong.astype("<f2").tobytes()),
        seal(Kind.PROFILE, 1, MODEL, finite.tobytes()),
        seal(Kind.PROFILE, 3, MODEL, np.array([number], "<f2").tobytes() + b"\x00\x01\x02"),
    ]
    decoded, errors = decode_profiles(messages, MODEL, 3)
    assert errors[0] == errors[1] == f"profile[1]: found {number}, expected a finite number"
    assert errors[2] is None and str(errors[3]).startswith("profile[0]: found")
    np.testing.assert_array_equal(decoded, [np.zeros(3), np.zeros(3), finite, np.zeros(3)])


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_not_encoded(format: ProfileFormat, number: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        encode_profiles(np.array([[0, number]], np.float32), MODEL, format)


def test_what_float16_cannot_hold_is_not_encoded() -> None:
    assert decode_profiles(encode_profiles(np.array([[65504]], np.float32), MODEL, "float16"), MODEL, 1)[0] == 65504
    with pytest.raises(ValueError, match="65504"):
        encode_profiles(np.array([[65505]], np.float32), MODEL, "float16")
    largest = np.array([[65504 * 127]], np.float32)
    assert decode_profiles(encode_profiles(largest, MODEL, "int8"), MODEL, 1)[0] == largest
    with pytest.raises(ValueError, match="65504"):
        encode_profiles(largest * 1.001, MODEL, "int8")


def test_what_is_no_profile_is_not_encoded_and_an_empty_batch_is() -> None:
    for wrong in (np.zeros(3, np.float32), np.zeros((1, 3))):
        with pytest.raises(ValueError, match="profiles"):
            encode_profiles(wrong, MODEL, "float32")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="format"):
        encode_profiles(np.zeros((1, 3), np.float32), MODEL, "float64")  # type: ignore[arg-type]
    for format in FORMATS:
        assert encode_profiles(np.zeros((0, 3), np.float32), MODEL, format) == []
    decoded, errors = decode_profiles([], MODEL, 3)
    assert decoded.shape == (0, 3) and errors == []
