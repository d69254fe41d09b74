"""Global weights on the wire come back as they were; what is not them is refused by the name of the array."""

from collections.abc import Callable

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord
from hypothesis import given
from hypothesis import strategies as st

from chord_fl.errors import WireError
from chord_fl.models import layouts
from strategies.arrays import array_bytes, read_arrays, record_bytes, shapes, write_arrays

LAYOUT = layouts.sasrec(1, 4)
RNG = np.random.default_rng(0)
WEIGHTS = [RNG.normal(size=(layer.channels, layer.size)).astype(np.float32) for layer in LAYOUT.layers]
BIASES = [RNG.normal(size=layer.channels).astype(np.float32) for layer in LAYOUT.layers]
VICTIM = "block0.key.weight"


def record(**changed: Array | None) -> ArrayRecord:
    whole = dict(write_arrays(LAYOUT, WEIGHTS, BIASES))
    return ArrayRecord({name: value for name, value in {**whole, **changed}.items() if value is not None})


def test_what_is_written_is_read() -> None:
    weights, biases = read_arrays(record(), LAYOUT)
    assert all((one == other).all() for one, other in zip([*weights, *biases], [*WEIGHTS, *BIASES], strict=True))
    assert record_bytes(record()) == array_bytes(LAYOUT) == sum(part.nbytes for part in [*WEIGHTS, *BIASES])


def test_double_precision_and_columns_first_are_read_too() -> None:
    wide = Array(np.asfortranarray(WEIGHTS[1].astype(np.float64)))
    assert (read_arrays(record(**{VICTIM: wide}), LAYOUT)[0][1] == WEIGHTS[1]).all()


def of(change: Callable[[np.ndarray], np.ndarray]) -> Array:
    return Array(change(WEIGHTS[1]))


def lying(**fields: object) -> Array:
    honest = Array(WEIGHTS[1])
    return Array(**{"dtype": honest.dtype, "shape": honest.shape, "stype": honest.stype, "data": honest.data} | fields)  # type: ignore[arg-type]


BAD: dict[str, Array | None] = {
    "missing": None,
    "transposed shape": of(lambda part: part.reshape(2, 8)),
    "one axis": of(lambda part: part.ravel()),
    "integers": of(lambda part: part.astype(np.int32)),
    "half precision": of(lambda part: part.astype(np.float16)),
    "other bytes first": of(lambda part: part.astype(">f4")),
    "NaN": of(lambda part: np.where(part == part[0, 0], np.nan, part)),
    "infinite": of(lambda part: np.where(part == part[0, 0], -np.inf, part)),
    "too large for float32": of(lambda part: part.astype(np.float64) * 1e300),
    "cut short": lying(data=Array(WEIGHTS[1]).data[:-1]),
    "too long": lying(data=Array(WEIGHTS[1]).data + b"x"),
    "empty": lying(data=b""),
    "no header": lying(data=b"x" * 200),
    "another serialisation": lying(stype="pickle"),
    "another shape than it says": lying(shape=(2, 2)),
    "another type than it says": lying(dtype="float64"),
    "a header that claims a petabyte": lying(data=Array(WEIGHTS[1]).data.replace(b"(4, 4)", b"(99999999, 9999999)")),
    "objects": lying(data=Array(WEIGHTS[1]).data.replace(b"<f4", b"|O")),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_array_is_refused_by_its_name(what: str) -> None:
    with pytest.raises(WireError, match=rf"^arrays: {VICTIM} [^\n]+$"):
        read_arrays(record(**{VICTIM: BAD[what]}), LAYOUT)


def test_an_array_more_is_refused_by_its_name() -> None:
    with pytest.raises(WireError, match="^arrays: more is unknown$"):
        read_arrays(record(more=Array(BIASES[0])), LAYOUT)


@given(st.binary(max_size=400), st.sampled_from(sorted(shapes(LAYOUT))))
def test_no_bytes_do_any_harm(data: bytes, name: str) -> None:
    array = Array("float32", shapes(LAYOUT)[name], "numpy.ndarray", data)
    with pytest.raises(WireError, match=f"^arrays: {name} "):
        read_arrays(record(**{name: array}), LAYOUT)
