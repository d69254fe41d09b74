import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chord_fl.device.population import NAMED, traits
from chord_fl.errors import DataError

MANY = 20_000
ROWS = {"ram_gb": [1.0, 4.0, 8.0], "score": [300, 1500, 3000], "downlink": [1e5, 1e6, 1e7], "uplink": [5e4, 5e5, 5e6]}


def columns(source: str, seed: int, first: int, count: int) -> dict[str, Any]:
    found = traits(source, seed, first, count)
    return {field.name: getattr(found, field.name) for field in fields(found)}


@given(st.sampled_from(sorted(NAMED)), st.integers(0, 2**32), st.integers(0, 10**6), st.integers(1, 20), st.data())
def test_a_phone_does_not_depend_on_who_is_drawn_with_it(
    source: str, seed: int, first: int, count: int, data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, count - 1))
    together, alone = columns(source, seed, first, count), columns(source, seed, first + place, 1)
    for name, values in together.items():
        assert values.shape == (count,) and values.dtype == np.float64
        np.testing.assert_array_equal(values[place], alone[name][0])


def test_named_populations_are_what_their_names_say() -> None:
    phones, small, moving = (traits(name, 0, 0, MANY) for name in ("phones", "budget-phones", "commuters"))
    assert set(small.ram_gb) == {1.0, 2.0} and abs((small.ram_gb == 1).mean() - 0.6) < 0.02
    assert np.median(small.downlink) < np.median(phones.downlink) / 10
    assert np.median(small.uplink) < np.median(phones.uplink) / 10
    np.testing.assert_array_equal(moving.ram_gb, phones.ram_gb)  # the same phones, on their way
    np.testing.assert_array_equal(moving.score, phones.score)
    assert moving.metered.mean() > 0.5 > phones.metered.mean()
    assert (moving.link_variation > phones.link_variation).all()
    logs = np.log(np.stack([phones.ram_gb, phones.score]))
    assert np.corrcoef(logs)[0, 1] > 0.7  # observed: 0.8


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_rows_of_a_file_belong_to_devices_and_begin_again_when_they_end(tmp_path: Path, ending: str) -> None:
    path, frame = (
        tmp_path / f"mine.{ending}",
        pd.DataFrame({**ROWS, "metered": [0.0, 0.5, 1.0], "who": ["a", "b", "c"]}),
    )
    frame.to_csv(path, index=False) if ending == "csv" else frame.to_parquet(path)
    found = traits(str(path), 7, 4, 7)
    rows = [4 % 3, 5 % 3, 6 % 3, 7 % 3, 8 % 3, 9 % 3, 10 % 3]
    np.testing.assert_array_equal(found.score, np.array(ROWS["score"], float)[rows])
    np.testing.assert_array_equal(found.metered, np.array([0.0, 0.5, 1.0])[rows])
    np.testing.assert_array_equal(found.charging, NAMED["phones"].charging)  # what a file does not say


def test_memory_that_is_given_is_there_all_the_time(tmp_path: Path) -> None:
    frame = pd.DataFrame(ROWS).drop(columns="ram_gb").assign(memory_bytes=[1e5, 2e5, 3e5])
    frame.to_csv(tmp_path / "mine.csv", index=False)
    found = traits(str(tmp_path / "mine.csv"), 0, 0, 3)
    assert found.memory_bytes.tolist() == [1e5, 2e5, 3e5] and (found.least_free == 1).all()


BAD: dict[str, tuple[Callable[[pd.DataFrame], pd.DataFrame], str]] = {
    "NaN": (lambda f: f.assign(score=[1.0, np.nan, 3.0]), "row 2, column score: found nan"),
    "negative": (lambda f: f.assign(uplink=[1.0, 2.0, -3.0]), "row 3, column uplink: found -3.0"),
    "no link": (
        lambda f: f.assign(downlink=[0.0, 2.0, 3.0]),
        "row 1, column downlink: found 0.0, allowed: more than 0",
    ),
    "infinite": (lambda f: f.assign(ram_gb=[1.0, np.inf, 3.0]), "row 2, column ram_gb: found inf"),
    "a word": (lambda f: f.assign(score=["1", "2", "fast"]), "row 3, column score: found 'fast'"),
    "above one": (lambda f: f.assign(charging=[0.0, 1.5, 1.0]), "row 2, column charging: found 1.5"),
    "nothing is ever moved": (
        lambda f: f.assign(metered=[0.0, 1.0, 1.0], metered_bytes=[0, 1, 0]),
        "row 3, column metered_bytes: found 0, allowed: more than 0 where metered is 1",
    ),
    "no score": (lambda f: f.drop(columns="score"), "no column score; it has ram_gb, downlink, uplink"),
    "no memory": (lambda f: f.drop(columns="ram_gb"), "no column ram_gb or memory_bytes"),
    "no rows": (lambda f: f.head(0), "no rows"),
}


@pytest.mark.parametrize("what", BAD)
def test_an_error_names_file_row_and_column(tmp_path: Path, what: str) -> None:
    change, message = BAD[what]
    path = tmp_path / "mine.csv"
    change(pd.DataFrame(ROWS)).to_csv(path, index=False)
    with pytest.raises(DataError) as caught:
        traits(str(path), 0, 0, 3)
    assert str(caught.value).startswith(f"population {path}") and message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("4,500,1e6,1e6,9\n", "more fields than the header"),
        ("4,500,1e6,1e6\n\n2,-5,1e6,1e6\n", "row 2, column"),  # the blank line, not the one after it
    ],
)
def test_rows_are_those_of_the_file(tmp_path: Path, rows: str, message: str) -> None:
    path = tmp_path / "phones.csv"
    path.write_text(f"ram_gb,score,downlink,uplink\n{rows}")
    with pytest.raises(DataError, match=message):
        traits(str(path), 0, 0, 2)


def test_a_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "mine.parquet").write_bytes(b"not a table")
    for name in ("mine.parquet", "absent.csv", "absent.json"):
        with pytest.raises(DataError, match=name):
            traits(str(tmp_path / name), 0, 0, 1)


def test_capacities_of_fedscale(tmp_path: Path) -> None:
    clients = {"7": {"computation": 50.0, "communication": 8000.0}, "9": {"computation": 100, "communication": 800}}
    clients["11"] = {"computation": 200.0, "communication": 80.0}
    (tmp_path / "capacity.json").write_text(json.dumps(clients))
    found = traits(str(tmp_path / "capacity.json"), 0, 0, 4)
    assert found.downlink.tolist() == found.uplink.tolist() == [1e6, 1e5, 1e4, 1e6]  # kbit/s to bytes per second
    assert found.score[0] == 2 * found.score[1] == 4 * found.score[2]  # half the time is twice the speed
    assert (np.diff(found.ram_gb[:3]) < 0).all()


@pytest.mark.parametrize(
    ("clients", "message"),
    [
        ({"5": {"computation": 1.0}}, "client 5: no communication"),
        ({"5": {"computation": -1.0, "communication": 3}}, "client 5, column computation: found -1.0"),
        ({"5": {"computation": 1.0, "communication": float("nan")}}, "client 5, column communication: found nan"),
        ({"5": [1.0]}, "client 5: expected an object"),
        ([], "expected an object with an entry per client"),
    ],
)
def test_capacities_that_are_none(tmp_path: Path, clients: Any, message: str) -> None:
    path = tmp_path / "capacity.json"
    path.write_text(json.dumps(clients))
    with pytest.raises(DataError) as caught:
        traits(str(path), 0, 0, 1)
    assert str(path) in str(caught.value) and message in str(caught.value)


def test_a_pickle_is_not_read(tmp_path: Path) -> None:
    import pickle

    path = tmp_path / "capacity.json"  # whatever its name says
    path.write_bytes(pickle.dumps({"5": {"computation": 1.0, "communication": 3}}))
    with pytest.raises(DataError, match="population"):
        traits(str(path), 0, 0, 1)
