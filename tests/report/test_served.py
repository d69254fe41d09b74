from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from chord_fl.report.served import curve, figure, times


def run(folder: Path, method: str = "chord", budgets: str = "off") -> dict[str, Any]:
    """Two rounds, an hour apart, of four devices; the last is never served."""
    folder.mkdir()
    rows = [
        *((1, 0, "ok", 1.0, 5.0), (1, 1, "offline", 0.0, 0.0), (1, 2, "ok", 0.5, 2.0), (1, 3, "cannot_hold", 0.0, 0.0)),
        *((2, 0, "ok", 0.0, 3.0), (2, 1, "ok", 1.0, 1.0), (2, 2, "late", 0.0, 9.0), (2, 3, "offline", 0.0, 0.0)),
    ]
    frame = pd.DataFrame(rows, columns=["round", "device", "status", "ndcg@10", "virtual_seconds"])
    frame = frame.assign(joules=2.0, uplink_bytes=100, downlink_bytes=300)
    frame.to_parquet(folder / "devices.parquet")
    pd.DataFrame({"round": [1, 2], "virtual_start": [0.0, 3600.0]}).to_csv(folder / "rounds.csv", index=False)
    return {
        "dataset": "ml-100k",
        "backbone": "sasrec",
        "method": method,
        "budgets": budgets,
        "seed": 0,
        "folder": folder,
    }


def test_a_device_counts_with_its_latest_result_from_when_it_has_it(tmp_path: Path) -> None:
    found = curve(run(tmp_path / "a")["folder"])
    assert found["seconds"].tolist() == [0.0, 2.0, 5.0, 3601.0, 3603.0]
    np.testing.assert_allclose(found["ndcg@10"], [0, 0.5 / 4, 1.5 / 4, 2.5 / 4, 1.5 / 4])
    np.testing.assert_allclose(found["served"], [0, 0.25, 0.5, 0.75, 0.75])


def test_times_are_of_all_devices(tmp_path: Path) -> None:
    line = times(pd.DataFrame([run(tmp_path / "a")])).iloc[0]
    assert line["served"] == 0.75 and line["ndcg@10"] == pytest.approx(1.5 / 4)
    assert line["served_first"] == 0.5 and np.isnan(line["seconds_to_90"]), "a quarter never was served"
    assert line["share_late"] == pytest.approx(1 / 8)
    assert line["modelled_seconds"] == pytest.approx((5 + 2 + 3 + 1) / 4)
    assert line["bytes_per_device"] == pytest.approx(800)


def test_nobody_served_is_no_time(tmp_path: Path) -> None:
    one = run(tmp_path / "a")
    rows = pd.read_parquet(one["folder"] / "devices.parquet").assign(status="offline")
    rows.to_parquet(one["folder"] / "devices.parquet")
    line = times(pd.DataFrame([one])).iloc[0]
    assert line["served"] == 0 and np.isnan(line["seconds_to_90"])


def test_the_picture_has_a_panel_for_each_kind_of_budget(tmp_path: Path) -> None:
    runs = [
        run(tmp_path / f"{method}{budgets}", method, budgets)
        for budgets in ("off", "on")
        for method in ("chord", "static")
    ]
    parts = [curve(one["folder"]).assign(**{k: v for k, v in one.items() if k != "folder"}) for one in runs]
    written = figure(pd.concat(parts), tmp_path / "out")
    assert [path.name for path in written] == ["time.png", "time.svg"]
