from math import nan
from pathlib import Path

import pandas as pd
import pytest

from chord_fl.report.paired import control_tests, paired_tests
from chord_fl.report.personalisation import by_window, draw_windows, windows


def points() -> pd.DataFrame:
    rows = []
    for backbone in ("sasrec", "caser"):
        for seed in (0, 1):
            for window, own in ((3, 0.06), (50, 0.07)):
                same = {"dataset": "ml-100k", "backbone": backbone, "seed": seed, "window": window}
                rows.append({**same, "method": "chord", "ndcg@10": own + seed / 100, "ndcg@10_stranger": 0.05})
                rows.append({**same, "method": "static", "ndcg@10": 0.055, "ndcg@10_stranger": nan})
            same = {"dataset": "ml-100k", "backbone": backbone, "seed": seed, "window": nan}
            rows.append({**same, "method": "covisitation", "ndcg@10": 0.072, "ndcg@10_stranger": nan})
    return pd.DataFrame(rows)


def test_lines_are_means_over_seeds_at_each_window_and_levels_go_across() -> None:
    figure = draw_windows(points())
    assert len(figure.axes) == 2
    for axes in figure.axes:
        lines = {line.get_label(): line for line in axes.get_lines()}
        means = {bar.get_label(): bar.lines[0].get_ydata().tolist() for bar in axes.containers}
        assert [round(value, 4) for value in means["own plan"]] == [0.065, 0.075]
        assert means["a stranger's plan"] == [0.05, 0.05]
        assert means["trained weights, 32 bits"] == [0.055, 0.055]
        assert set(lines["co-visitation, nothing learned"].get_ydata()) == {0.072}
        assert [label.get_text() for label in axes.get_xticklabels()] == ["3", "50"]


def test_a_ceiling_is_drawn_where_it_was_measured(tmp_path: Path) -> None:
    rows = [{"backbone": "sasrec", "window": w, "seed": 4, "plan": "stopped", "ndcg@10": 0.061} for w in (3, 7)]
    figure = draw_windows(points(), "seeds 0 to 1", pd.DataFrame(rows))
    assert "grey marks: seed 4" in figure.get_suptitle()
    sasrec, caser = figure.axes
    marks = {line.get_label(): line for line in sasrec.get_lines()}
    mark = marks["searched per user, stopped in time"]
    assert mark.get_xdata() == [0] and mark.get_ydata() == [0.061]  # at 3; there are no runs at 7
    assert "searched per user, stopped in time" not in {line.get_label() for line in caser.get_lines()}
    assert {path.suffix for path in windows(points(), tmp_path)} == {".png", ".svg"}


def test_runs_are_compared_within_a_window_and_over_several(tmp_path: Path) -> None:
    rows = []
    for window in (3, 10, 50):
        for seed in (0, 1):
            own, base = 1 if window < 50 else 11, 2  # ranks of all users
            rows.append({"method": "chord", "window": window, "seed": seed, "rank": own, "rank_stranger": 3})
            rows.append({"method": "static", "window": window, "seed": seed, "rank": base, "rank_stranger": 0})
    rows += [{"method": "covisitation", "window": nan, "seed": seed, "rank": 1, "rank_stranger": 0} for seed in (0, 1)]
    for index, row in enumerate(rows):
        row |= {"dataset": "ml-100k", "backbone": "sasrec", "folder": tmp_path / str(index)}
        devices = pd.DataFrame({"device": range(8), "error": "", **{k: row.pop(k) for k in ("rank", "rank_stranger")}})
        row["folder"].mkdir()
        devices.to_parquet(row["folder"] / "devices.parquet")
    runs = by_window(pd.DataFrame(rows))
    assert list(runs["windows"].unique()) == ["3", "10", "50", "3 to 10"]  # 20 to 50 would be 50 alone
    assert by_window(pd.DataFrame(rows[-1:])).empty  # co-visitation alone has no window to be compared in
    pairs = paired_tests(runs, ("dataset", "backbone", "windows")).set_index(["windows", "a", "b"])
    assert len(pairs) == 4 * 3
    gain = 1 - 0.6309
    for windows_, seeds in (("3", 2), ("10", 2), ("3 to 10", 4)):
        line = pairs.loc[(windows_, "chord", "static")]
        assert line["difference"] == pytest.approx(gain, abs=1e-4) and line["users"] == 8
        assert line["seeds"] == line["seeds_agreeing"] == seeds
        assert pairs.loc[(windows_, "chord", "covisitation"), "difference"] == 0
    assert pairs.loc[("50", "chord", "static"), "difference"] == pytest.approx(-0.6309, abs=1e-4)
    controls = control_tests(runs, ("dataset", "backbone", "windows")).set_index("windows")
    assert controls.loc["3 to 10", "difference"] == pytest.approx(0.5) and controls.loc["3 to 10", "seeds"] == 4
