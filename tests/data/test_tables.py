"""Files of the user's own: every format gives the same events, every fault one line that names it."""

import gzip
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from chord_fl.data.events import Events
from chord_fl.data.tables import read_table
from chord_fl.errors import DataError

COLUMNS = ("user", "item", "timestamp")


def read(path: Path, user: str = "user", item: str = "item", time: str = "timestamp") -> Events:
    return read_table(path, user, item, time)


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def frame() -> pd.DataFrame:
    """Ids with everything that quoting is for."""
    return pd.DataFrame(
        {
            "rating": [1.5, 2.5, 3.5, 4.5],
            "timestamp": [30, 20, 20, 10],
            "user": ["zoë", "a,b", "zoë", 'say "x"'],
            "item": ["07", "7", "NA", "tab\tand\nline"],
        }
    )


@pytest.mark.parametrize("name", ["log.csv", "log.tsv", "log.csv.gz", "log.tsv.gz", "log.parquet", "log.txt"])
def test_formats_agree(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.endswith(".parquet"):
        frame().to_parquet(path)
    else:
        frame().to_csv(path, index=False, sep="\t" if ".tsv" in name else ",")
    events = read(path)
    assert events.users.tolist() == [0, 1, 0, 2]
    assert events.items.tolist() == [0, 1, 2, 3]
    assert events.times.tolist() == [30, 20, 20, 10]


@pytest.mark.parametrize(
    "ids", [[5, 3, 5], [2.5, 1.0, 2.5], ["b", "a", "b"], [date(2024, 1, 2), date(2024, 1, 1), date(2024, 1, 2)]]
)
def test_ids_of_any_type_in_parquet(tmp_path: Path, ids: list[object]) -> None:
    pd.DataFrame({"user": ids, "item": ids, "timestamp": [1, 2, 3]}).to_parquet(tmp_path / "log.parquet")
    assert read(tmp_path / "log.parquet").users.tolist() == [0, 1, 0]


def test_other_column_names(tmp_path: Path) -> None:
    path = write(tmp_path / "log.csv", "who;x,what,when\n1,2,3\n")
    assert read(path, "who;x", "what", "when").times.tolist() == [3]


@pytest.mark.parametrize(
    "texts",
    [
        ["1", "2", "3"],
        ["-1.5", "2e3", "2500"],
        ["9007199254740993", "9007199254740994", "9007199254740995"],
        ["2024-01-01", "2024-01-01T00:00:01", "2024-01-02 03:04:05.678"],
        ["2024-01-01T12:00:00+02:00", "2024-01-01T11:00:00Z", "2024-01-01T12:00:00"],
    ],
)
def test_times_of_any_kind_sort(tmp_path: Path, texts: list[str]) -> None:
    rows = "".join(f"u,i,{text}\n" for text in texts)
    times = read(write(tmp_path / "log.csv", f"user,item,timestamp\n{rows}")).times
    assert np.all(np.diff(times) > 0)


@pytest.mark.parametrize(
    "times",
    [
        pd.to_datetime(["2024-01-01", "2024-01-02"]),
        pd.to_datetime(["2024-01-01", "2024-01-02"]).tz_localize("Europe/Paris"),
        [date(2024, 1, 1), date(2024, 1, 2)],
        np.array([1, 2], dtype=np.uint8),
    ],
)
def test_typed_times_in_parquet(tmp_path: Path, times: object) -> None:
    pd.DataFrame({"user": 1, "item": 1, "timestamp": times}).to_parquet(tmp_path / "log.parquet")
    found = read(tmp_path / "log.parquet").times
    assert found[0] < found[1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("user,item\n1,2\n", r"no column 'timestamp' \(data.time_column\); its columns: user, item"),
        ("user,item,timestamp,item\n1,2,3,4\n", "more than one column 'item'"),
        ("user,item,timestamp\n", "header but no rows"),
        ("", "cannot be read as a table"),
        ("user,item,timestamp\n1,2,3\n4,5,6,7\n", "row 2 has 4 fields, not 3: '4,5,6,7'"),
        ("user,item,timestamp\n1,2,3\n4,5\n", "row 2 has 2 fields, not 3: '4,5'"),
        ("user,item,timestamp\n1,2,3\n1,2,soon\n", "'timestamp' in row 2 is 'soon'"),
        ("user,item,timestamp\n1,2,2024-01-01\n1,2,2024-13-01\n", "'timestamp' in row 2 is '2024-13-01'"),
        ("user,item,timestamp\n1,2,2024-01-01\n1,2,17\n1,2,x\n", "'timestamp' in row [23] is "),
        ("user,item,timestamp\n1,2,3\n1,2,inf\n", "'timestamp' in row 2 is 'inf'"),
        ("user,item,timestamp\n1,2,3\n1,2,\n", "'timestamp' is missing in row 2"),
        ("user,item,timestamp\n1,2,NaN\n1,2,3\n", "'timestamp' is missing in row 1"),
        ("user,item,timestamp\n1,2,3\n,2,3\n", "'user' is missing in row 2"),
        ("user,item,timestamp\n1,2,3\n1,2,3\n1,nan,3\n", "'item' is missing in row 3"),
    ],
)
def test_each_fault_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read(write(tmp_path / "log.csv", text))
    assert len(str(caught.value).splitlines()) == 1


def test_faults_in_parquet(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    pd.DataFrame({"user": [1, None], "item": [1, 1], "timestamp": [1, 1]}).to_parquet(path)
    with pytest.raises(DataError, match="'user' is missing in row 2"):
        read(path)
    pd.DataFrame({"user": [1, 1], "item": [1, 1], "timestamp": [1, float("nan")]}).to_parquet(path)
    with pytest.raises(DataError, match="'timestamp' is missing in row 2"):
        read(path)
    pd.DataFrame({"user": [[1], [2]], "item": [1, 1], "timestamp": [1, 1]}).to_parquet(path)
    with pytest.raises(DataError, match="'user' holds .* cannot be an id"):
        read(path)
    with pytest.raises(DataError, match="no column 'who'"):
        read(path, user="who")
    write(path, "not parquet")
    with pytest.raises(DataError, match="cannot be read as a table"):
        read(path)


def test_faults_of_the_file_itself(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read(tmp_path / "absent.csv")
    with pytest.raises(DataError, match="no such file"):
        read(tmp_path)
    packed = gzip.compress(b"user,item,timestamp\n" + bytes(range(48, 58)) * 9999)
    (tmp_path / "cut.csv.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(DataError, match="cannot be read as a table"):
        read(tmp_path / "cut.csv.gz")
    (tmp_path / "latin.csv").write_bytes("user,item,timestamp\nzoë,1,2\n".encode("latin-1"))
    with pytest.raises(DataError, match="cannot be read as a table"):
        read(tmp_path / "latin.csv")
    with pytest.raises(DataError, match="three different columns"):
        read(tmp_path / "latin.csv", user="item")
