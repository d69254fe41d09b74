import hashlib
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load, save

from chord_fl.errors import WireError
from chord_fl.models.counts import LONGEST, MOST_POPULAR, CountTable, id_type, pack, unpack

TABLE = CountTable(
    np.array([0, 9, 4, 4, 1], dtype=np.uint32),
    np.array([[0, 0], [2, 3], [3, 0], [1, 4], [0, 0]], dtype=np.uint16),
    np.array([[0, 0], [65535, 2], [7, 0], [5, 5], [0, 0]], dtype=np.uint16),
    np.array([1, 3], dtype=np.uint8),
)
POPULAR = CountTable(
    TABLE.popularity, np.zeros((5, 0), np.uint16), np.zeros((5, 0), np.uint16), np.zeros(0, dtype=np.uint8)
)


def receive(shipment: bytes) -> CountTable:
    return unpack(shipment, hashlib.sha256(shipment).hexdigest())


def rebuilt(change: Callable[[dict[str, Any], dict[str, Any]], object]) -> bytes:
    arrays, header = load(pack(TABLE)), {"format": 1, "items": 4}
    change(arrays, header)
    return save(arrays, {"chord-fl counts": json.dumps(header)})


def test_scores_are_weighted_sums_and_popularity_decides_among_equals() -> None:
    windows = torch.tensor([[1, 3], [0, 2], [0, 0]])
    strength = np.array([[15, 65535, 2, 15], [0, 0, 21, 0], [0, 0, 0, 0]])
    np.testing.assert_array_equal(TABLE.scores(windows)[:, 1:].numpy(), 10 * strength + TABLE.popularity[1:])


def test_without_neighbours_popularity_is_all() -> None:
    found = POPULAR.scores(torch.zeros(2, 0, dtype=torch.int64))
    np.testing.assert_array_equal(found.numpy(), np.tile(TABLE.popularity, (2, 1)))


def test_the_largest_score_fits() -> None:
    one = np.ones((2, 1))
    table = CountTable(
        np.array([0, MOST_POPULAR], dtype=np.uint32),
        one.astype(np.uint16),
        (65535 * one).astype(np.uint16),
        np.full(LONGEST, 255, dtype=np.uint8),
    )
    exact = 65535 * 255 * LONGEST * (MOST_POPULAR + 1) + MOST_POPULAR
    assert table.scores(torch.ones(1, LONGEST, dtype=torch.int64))[0, 1].item() == exact < 2**63


@pytest.mark.parametrize("table", [TABLE, POPULAR])
def test_a_table_arrives_whole(table: CountTable) -> None:
    found = receive(pack(table))
    for name in ("popularity", "neighbours", "weights", "recency"):
        np.testing.assert_array_equal(getattr(found, name), getattr(table, name))
        assert getattr(found, name).dtype == getattr(table, name).dtype
    assert found.nbytes == table.nbytes and len(pack(table)) - table.nbytes < 600
    assert found.fingerprint == hashlib.sha256(pack(table)).digest()[:4]


def test_ids_are_as_wide_as_the_catalogue_needs() -> None:
    assert id_type(65535) is np.uint16 and id_type(65536) is np.uint32


def test_a_table_that_was_tampered_with() -> None:
    shipment = bytearray(pack(TABLE))
    announced = hashlib.sha256(shipment).hexdigest()
    shipment[-1] ^= 1
    with pytest.raises(WireError, match="SHA-256"):
        unpack(bytes(shipment), announced)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda arrays, header: header.pop("items"), "header unreadable"),
        (lambda arrays, header: header.update(items=True), "header unreadable"),
        (lambda arrays, header: header.update(items=-1), "header unreadable"),
        (lambda arrays, header: header.update(format=2), "header unreadable .*format 2"),
        (lambda arrays, header: header.update(items=5), r"popularity is uint32 \[5\], expected uint32 \[6\]"),
        (lambda arrays, header: header.update(items=10**12), "popularity is"),
        (lambda arrays, header: arrays.pop("recency"), "arrays .*expected"),
        (lambda arrays, header: arrays.update(other=np.zeros(1)), "arrays .*'other'"),
        (lambda arrays, header: arrays.update(popularity=arrays["popularity"].astype(np.int64)), "popularity is int64"),
        (lambda arrays, header: arrays.update(neighbours=arrays["neighbours"] + 1), "neighbours holds 5, at most 4"),
        (lambda arrays, header: arrays.update(neighbours=arrays["neighbours"][:, 0]), "neighbours is"),
        (lambda arrays, header: arrays.update(neighbours=np.zeros((), np.uint16)), "neighbours is"),
        (lambda arrays, header: arrays.update(weights=arrays["weights"][:, :1].copy()), "weights is"),
        (lambda arrays, header: arrays.update(weights=arrays["weights"].astype(np.float32)), "weights is float32"),
        (lambda arrays, header: arrays.update(recency=np.zeros((2, 2), np.uint8)), "recency is"),
        (lambda arrays, header: arrays.update(recency=np.zeros((), np.uint8)), "recency"),
        (lambda arrays, header: arrays.update(recency=np.ones(1001, np.uint8)), "recency has .*1001"),
        (lambda arrays, header: arrays["popularity"].__setitem__(1, 2**28 + 1), "popularity holds 268435457"),
        (lambda arrays, header: arrays["neighbours"].__setitem__(1, 2), "neighbours names an item twice"),
        (
            lambda arrays, header: arrays.update(
                neighbours=np.zeros((5, 1025), np.uint16), weights=np.zeros((5, 1025), np.uint16)
            ),
            "neighbours has 1025 columns, at most 1024",
        ),
    ],
)
def test_what_is_wrong_is_named(change: Callable[[Any, Any], object], complaint: str) -> None:
    with pytest.raises(WireError, match=complaint):
        receive(rebuilt(change))


@pytest.mark.parametrize("shipment", [b"", b"1234567", b"\xff" * 40, pack(TABLE)[:-1], save({"a": np.zeros(1)})])
def test_what_is_no_table_at_all(shipment: bytes) -> None:
    with pytest.raises(WireError, match="header unreadable"):
        receive(shipment)
