"""Publishers' review files in all their forms, written small here; every fault is one line that names file and line."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chord_fl.data import lines
from chord_fl.data.events import sequences
from chord_fl.data.reviews import read_amazon, read_yelp
from chord_fl.errors import DataError

MOZART, BACH, BOOK = "B00002MZ3P", "B0000029LG", "030740806X"
ANN, BEN = "A3JM6GV9MNOF9X", "A00000262KYZUE4J55XGL"
AMAZON = [(ANN, MOZART, 30), (BEN, BACH, 20), (ANN, BOOK, 30), (BEN, MOZART, 20)]
ITEM_FIRST = [f"{item},{user},5.0,{time}" for user, item, time in AMAZON]
USER_FIRST = [f"{user},{item},5.0,{time}" for user, item, time in AMAZON]
REVIEWS = [
    json.dumps({"overall": 5.0, "reviewerID": user, "asin": item, "reviewText": 'a "b"\n', "unixReviewTime": time})
    for user, item, time in AMAZON
]
YELP = [
    {"review_id": "r", "user_id": "mh_-eMZ6K5RLWhZyISBhwA", "business_id": "XQfwVwDr", "date": "2018-07-07 22:09:11"},
    {"review_id": "s", "user_id": "OyoGAe7OKpv6SyGZT5g77Q", "business_id": "7ATYjTIg", "date": "2012-01-03 15:28:18"},
    {"review_id": "t", "user_id": "mh_-eMZ6K5RLWhZyISBhwA", "business_id": "7ATYjTIg", "date": "2012-01-03 15:28:18"},
]


def write(path: Path, rows: list[str], packed: bool = False, end: str = "\n") -> Path:
    content = "".join(row + end for row in rows).encode()
    path.write_bytes(gzip.compress(content) if packed else content)
    return path


def yelp(path: Path, *rows: dict[str, Any]) -> Path:
    return write(path, [json.dumps({**row, "text": 'Wow! Yummy,\n"different" é 🍕' * 9}) for row in rows])


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n"])
@pytest.mark.parametrize("rows", [ITEM_FIRST, USER_FIRST, REVIEWS], ids=["2018", "2014", "reviews"])
def test_amazon_in_every_form(tmp_path: Path, rows: list[str], end: str, packed: bool) -> None:
    events = read_amazon(write(tmp_path / "any.name", rows, packed, end))
    assert events.users.tolist() == [0, 1, 0, 1]
    assert events.items.tolist() == [0, 1, 2, 0]
    assert events.times.tolist() == [30, 20, 30, 20]
    assert {column.dtype for column in (events.users, events.items, events.times)} == {np.dtype(np.int64)}


@pytest.mark.parametrize("packed", [False, True])
def test_yelp(tmp_path: Path, packed: bool) -> None:
    path = yelp(tmp_path / "yelp.json", *YELP)
    if packed:
        path.write_bytes(gzip.compress(path.read_bytes()))
    events = read_yelp(path)
    assert events.users.tolist() == [0, 1, 0]
    assert events.items.tolist() == [0, 1, 1]
    times = [np.datetime64(row["date"].replace(" ", "T"), "s").astype(int) for row in YELP]
    assert events.times.tolist() == times


def test_codes_hold_across_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [f"B{item:09d},A{user:012d},1.0,{time}" for time, (user, item) in enumerate(np.ndindex(40, 30))]
    path = write(tmp_path / "ratings.csv", rows)
    whole = read_amazon(path)
    monkeypatch.setattr(lines.blocks, "__defaults__", (lines.silent, 500))
    parts = read_amazon(path)
    for name in ("users", "items", "times"):
        assert np.array_equal(getattr(whole, name), getattr(parts, name))
    assert np.array_equal(whole.users, np.repeat(np.arange(40), 30))
    assert np.array_equal(whole.items, np.tile(np.arange(30), 40))


def test_ties_keep_the_order_of_the_file_and_repeated_pairs_stay(tmp_path: Path) -> None:
    rows = [f"B{item:09d},{ANN},1.0,7" for item in (3, 1, 2, 1)]
    interactions, items = sequences(read_amazon(write(tmp_path / "ratings.csv", rows)), core=1)
    assert interactions.items.tolist() == [1, 2, 3, 2]
    assert items == 3


def test_what_the_fast_parser_will_not_judge(tmp_path: Path) -> None:
    """Times as text or fractions, ids as numbers, a repeated field: read all the same, the slow way."""
    odd = '{"reviewerID": 7, "reviewerID": 8, "asin": "x", "unixReviewTime": "12"}'
    assert read_amazon(write(tmp_path / "a.json", [*REVIEWS, odd])).users.tolist() == [0, 1, 0, 1, 2]
    assert read_amazon(write(tmp_path / "a.csv", [*ITEM_FIRST, "x,y,5,12.0"])).times.tolist() == [30, 20, 30, 20, 12]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"reviewerID": "A1", "asin": "B1"', r"not a JSON object, perhaps cut short: '{\"reviewerID"),
        ("[1, 2]", "not a JSON object"),
        (REVIEWS[0] + REVIEWS[1], "not a JSON object"),
        ('{"user_id": "A1", "asin": "B1", "timestamp": 3}', "no field 'reviewerID'; its fields: user_id, asin, time"),
        ('{"reviewerID": "", "asin": "B1", "unixReviewTime": 3}', "no field 'reviewerID'"),
        ('{"reviewerID": "A1", "asin": null, "unixReviewTime": 3}', "no field 'asin'"),
        ('{"reviewerID": ["A1"], "asin": "B1", "unixReviewTime": 3}', "must be text"),
        ('{"reviewerID": "A1", "asin": "B1", "unixReviewTime": "soon"}', "the time 'soon' is not a number"),
        ('{"reviewerID": "A1", "asin": "B1", "unixReviewTime": 1e999}', "the time 'inf' is not a number"),
        ('{"reviewerID": "A\udcff", "asin": "B1", "unixReviewTime": 1}', "can't decode"),
    ],
)
def test_faults_in_amazon_reviews(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "reviews.json"
    path.write_bytes(("\n".join([*REVIEWS, line, *REVIEWS]) + "\n").encode(errors="surrogateescape"))
    with pytest.raises(DataError, match=rf"reviews.json, line 5: .*{message}") as caught:
        read_amazon(path)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f"{BACH},{ANN},5.0", r"3 fields, not 4 \(item, user, rating, time\)"),
        (f"{BACH},{ANN},5.0,12,13", "5 fields, not 4"),
        (f"{BACH},,5.0,12", "the user is missing"),
        (f"{BACH},{ANN},5.0,soon", "the time 'soon' is not a number"),
        (f"{BACH},{ANN},5.0,", "the time is missing"),
    ],
)
def test_faults_in_amazon_ratings(tmp_path: Path, line: str, message: str) -> None:
    path = write(tmp_path / "ratings.csv", [*ITEM_FIRST, line, *ITEM_FIRST])
    with pytest.raises(DataError, match=rf"ratings.csv, line 5: .*{message}"):
        read_amazon(path)


@pytest.mark.parametrize("content", ["user,item,rating,timestamp\n1,2,3,4\n", "<html>\n", "\n\n", "PK\x03\x04"])
def test_something_else_than_amazon(tmp_path: Path, content: str) -> None:
    (tmp_path / "file").write_text(content)
    with pytest.raises(DataError, match=r"neither JSON nor ratings .*https://nijianmo.github.io.* data.name csv"):
        read_amazon(tmp_path / "file")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"date": "yesterday"}, "the date 'yesterday' cannot be read"),
        ({"date": "2018-02-30 10:00:00"}, "the date '2018-02-30 10:00:00' cannot be read"),
        ({"date": 5}, "the date '5' cannot be read"),
        ({"date": None}, "no field 'date'"),
        ({"business_id": None}, "no field 'business_id'"),
    ],
)
def test_faults_in_yelp(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = yelp(tmp_path / "yelp.json", *YELP, {**YELP[0], **changes})
    with pytest.raises(DataError, match=rf"yelp.json, line 4: .*{message}"):
        read_yelp(path)


def test_files_cut_short(tmp_path: Path) -> None:
    path = yelp(tmp_path / "yelp.json", *YELP)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DataError, match=r"yelp.json, line 3: not a JSON object, perhaps cut short"):
        read_yelp(path)
    path.write_bytes(gzip.compress(yelp(path, *YELP).read_bytes())[:-9])
    with pytest.raises(DataError, match=r"yelp.json cannot be unpacked beyond line 0: it is damaged or cut short"):
        read_yelp(path)
    for read in (read_yelp, read_amazon):
        path.write_bytes(b"")
        with pytest.raises(DataError, match=r"yelp.json (holds no reviews|is empty)"):
            read(path)


def test_the_events_are_as_a_plain_reader_has_them(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    numbers = draw.integers((99, 99, 2**31), size=(999, 3)).tolist()
    rows = [
        {"user_id": f"u{user}", "business_id": f"b{item}", "date": str(np.datetime64(time, "s")).replace("T", " ")}
        for user, item, time in numbers
    ]
    events = read_yelp(yelp(tmp_path / "yelp.json", *rows))
    assert plain(rows) == [events.users.tolist(), events.items.tolist(), events.times.tolist()]


def plain(rows: list[dict[str, Any]]) -> list[list[int]]:
    users: dict[str, int] = {}
    items: dict[str, int] = {}
    found = [
        (
            users.setdefault(row["user_id"], len(users)),
            items.setdefault(row["business_id"], len(items)),
            int(np.datetime64(row["date"].replace(" ", "T"), "s").astype(int)),
        )
        for row in rows
    ]
    return [list(column) for column in zip(*found, strict=True)]
