"""Candidates on the wire: the items of one session and their embeddings, p < 100, behind the header of a plan.

Payload, little endian: p items as int32, then p × d numbers as float32.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from chord_fl.wire.frame import InvalidContentError, Kind, complaint, seal_each, texts, unseal_each

_FORMAT = 1


def encode_candidates(items: NDArray[np.int32], embeddings: NDArray[np.float32], fingerprint: bytes) -> list[bytes]:
    """One message per device for `items` [B, p] and their `embeddings` [B, p, d]."""
    flat = np.ascontiguousarray(embeddings.astype("<f4")).reshape(len(items), embeddings.shape[1] * embeddings.shape[2])
    data = np.hstack([np.ascontiguousarray(items.astype("<i4")).view(np.uint8), flat.view(np.uint8)])
    return seal_each(Kind.CANDIDATES, _FORMAT, fingerprint, data)


def decode_candidates(
    messages: Sequence[bytes], fingerprint: bytes, count: int, dim: int, catalogue: int
) -> tuple[NDArray[np.int32], NDArray[np.float32], list[str | None]]:
    """Items [B, p] within 1 .. `catalogue` and embeddings [B, p, d], p = `count` and d = `dim`.

    A refused message leaves rows of zeros and the reason in the last value; NaN and unknown items are refused.
    """
    (batch,), errors = unseal_each(messages, Kind.CANDIDATES, fingerprint, {_FORMAT: 4 * count * (1 + dim)})
    items = np.zeros((len(messages), count), dtype=np.int32)
    embeddings = np.zeros((len(messages), count, dim), dtype=np.float32)
    found = np.ascontiguousarray(batch.data[:, : 4 * count]).view("<i4")
    numbers = np.ascontiguousarray(batch.data[:, 4 * count :]).view("<f4").reshape(len(found), count, dim)
    known = ((found >= 1) & (found <= catalogue)).all(axis=1)
    finite = np.isfinite(numbers).all(axis=(1, 2))
    for row in batch.rows[~known]:
        errors[row] = InvalidContentError(complaint("items", "an item outside the catalogue", f"1..{catalogue}"))
    for row in batch.rows[known & ~finite]:
        errors[row] = InvalidContentError(complaint("embeddings", "NaN or infinity", "finite numbers"))
    good = known & finite
    items[batch.rows[good]], embeddings[batch.rows[good]] = found[good], numbers[good]
    return items, embeddings, texts(errors)
