import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from chord_fl.wire.candidates import decode_candidates, encode_candidates
from chord_fl.wire.frame import HEADER_BYTES, Kind, seal
from chord_fl.wire.plans import encode_plans

MODEL = b"\x01\x02\x03\x04"
OTHER = b"\x09\x09\x09\x09"

shapes = st.tuples(st.integers(0, 6), st.integers(1, 20), st.integers(1, 9), st.integers(0, 2**32 - 1))


def session(devices: int, count: int, dim: int, seed: int = 0) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    generator = np.random.default_rng(seed)
    items = generator.integers(1, 2**31 - 1, (devices, count), dtype=np.int32)
    return items, generator.normal(size=(devices, count, dim)).astype(np.float32)


@given(shapes)
def test_candidates_survive_the_wire_bit_for_bit(shape: tuple[int, int, int, int]) -> None:
    devices, count, dim, seed = shape
    items, embeddings = session(devices, count, dim, seed)
    messages = encode_candidates(items, embeddings, MODEL)
    found, vectors, errors = decode_candidates(messages, MODEL, count, dim, 2**31 - 1)
    assert found.dtype == np.int32 and vectors.dtype == np.float32
    np.testing.assert_array_equal(found, items)
    assert vectors.shape == embeddings.shape and vectors.tobytes() == embeddings.tobytes()
    assert errors == [None] * devices
    assert all(len(message) == HEADER_BYTES + 4 * count * (1 + dim) for message in messages)


def test_float64_and_strided_embeddings_are_encoded_alike() -> None:
    items, embeddings = session(3, 4, 5)
    plain = encode_candidates(items, embeddings, MODEL)
    strided = np.asfortranarray(embeddings.astype(np.float64))
    assert encode_candidates(np.asfortranarray(items.astype(np.int64)), strided, MODEL) == plain


def test_each_refusal_names_its_reason_and_costs_nobody_else() -> None:
    items, embeddings = session(8, 4, 3)
    items = items % 50 + 1
    messages = encode_candidates(items, embeddings, MODEL)

    def changed(item: int | None = None, number: float | None = None) -> bytes:
        own, vectors = items[:1].copy(), embeddings[:1].copy()
        if item is not None:
            own[0, 2] = item
        if number is not None:
            vectors[0, 3, 1] = number
        return encode_candidates(own, vectors, MODEL)[0]

    bad = {
        0: (changed(item=0), "items: found an item outside the catalogue, expected 1..50"),
        1: (changed(item=51), "items"),
        2: (changed(item=-1), "items"),
        3: (changed(number=float("nan")), "embeddings: found NaN or infinity"),
        4: (changed(number=float("-inf")), "embeddings"),
        6: (messages[6][:-1], "payload"),
    }
    for row, (message, _) in bad.items():
        messages[row] = message
    found, vectors, errors = decode_candidates(messages, MODEL, 4, 3, 50)
    for row in range(8):
        if row in bad:
            assert bad[row][1] in str(errors[row])
            assert not found[row].any() and not vectors[row].any()
        else:
            assert errors[row] is None
            np.testing.assert_array_equal(found[row], items[row])
            np.testing.assert_array_equal(vectors[row], embeddings[row])


@pytest.mark.parametrize(
    "message",
    [
        b"",
        encode_candidates(*session(1, 4, 3), OTHER)[0],
        encode_candidates(*session(1, 5, 3), MODEL)[0],
        encode_candidates(*session(1, 4, 2), MODEL)[0],
        encode_plans(np.zeros((1, 256), np.uint8), MODEL)[0],
        seal(Kind.CANDIDATES, 2, MODEL, bytes(64)),
        encode_candidates(*session(1, 4, 3), MODEL)[0] + b"x",
    ],
)
def test_what_is_not_for_this_device_is_refused(message: bytes) -> None:
    found, vectors, errors = decode_candidates([message], MODEL, 4, 3, 2**31 - 1)
    assert errors[0] is not None and not found.any() and not vectors.any()


@given(st.integers(0, 16 * 8 + 4 * 4 * 4 * 8 - 1))
def test_a_flipped_bit_is_refused(bit: int) -> None:
    message = bytearray(encode_candidates(*session(1, 4, 3), MODEL)[0])
    message[bit // 8] ^= 1 << bit % 8
    *_, errors = decode_candidates([bytes(message)], MODEL, 4, 3, 2**31 - 1)
    assert errors[0] is not None
