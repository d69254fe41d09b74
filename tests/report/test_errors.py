from pathlib import Path

import pandas as pd

from chord_fl.report.errors import errors_of


def written(folder: Path, *parts: list[tuple[int, int, str, str]]) -> Path:
    (folder / "devices.parquet").mkdir()
    for number, rows in enumerate(parts):
        frame = pd.DataFrame(rows, columns=["round", "device", "status", "error"])
        frame.assign(rank=1).to_parquet(folder / "devices.parquet" / f"part-{number:07}.parquet")
    return folder


def test_errors_that_differ_in_numbers_are_one_most_common_first(tmp_path: Path) -> None:
    folder = written(
        tmp_path,
        [(1, 0, "ok", ""), (1, 4, "failed", "no rank"), (1, 7, "late", "late: 5.31 s, 5 allowed")],
        [(2, 0, "waiting", ""), (2, 2, "late", "late: 12 s, 5 allowed"), (2, 3, "lost", "late: 1 s, 5 allowed")],
    )
    found = errors_of(folder).to_dict("records")
    assert found == [
        {"status": "late", "error": "late: 5.31 s, 5 allowed", "rows": 2, "round": 1, "device": 7},
        {"status": "failed", "error": "no rank", "rows": 1, "round": 1, "device": 4},
        {"status": "lost", "error": "late: 1 s, 5 allowed", "rows": 1, "round": 2, "device": 3},
    ]


def test_a_run_without_errors_or_without_rounds_has_none(tmp_path: Path) -> None:
    assert errors_of(tmp_path).empty and errors_of(tmp_path).to_dict("records") == []
    assert errors_of(written(tmp_path, [(1, 0, "ok", "")])).empty


def test_a_device_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    (error,) = errors_of(written(tmp_path, [(1, 0, "failed", "\x1b[2Jgone\r\x07")]))["error"]
    assert error == "?[2Jgone??"
