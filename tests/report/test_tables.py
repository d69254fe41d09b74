import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from chord_fl.report.paper import table
from chord_fl.report.tables import beside_paper, summarise, write_table

BY = ["dataset", "backbone", "method"]


def runs() -> pd.DataFrame:
    """Two seeds of chord and one of static."""
    lines = [("chord", 0, 0.06, 3.0, 4000), ("chord", 1, 0.08, 3.0, 4200), ("static", 0, 0.05, 32.0, 0)]
    frame = pd.DataFrame(lines, columns=["method", "seed", "ndcg@10", "average_bits", "adaptation_bytes"])
    return frame.assign(dataset="ml-100k", backbone="sasrec", devices=10, rounds=2, param_mbit=0.04352)


def test_means_deviations_and_seeds() -> None:
    summary = summarise(runs(), BY).set_index("method")
    assert list(summary.index) == ["chord", "static"]
    assert summary.loc["chord", "ndcg@10"] == pytest.approx(0.07)
    assert summary.loc["chord", "ndcg@10_sd"] == pytest.approx(0.02 / math.sqrt(2))
    assert math.isnan(summary.loc["static", "ndcg@10_sd"])
    assert list(summary["seeds"]) == [2, 1]
    assert summary.loc["chord", "adaptation_bytes"] == 4100
    assert summary.loc["chord", "adaptation_bytes_per_device"] == 4100 / 10 / 2
    assert "hr@10" not in summary  # nobody measured it


def test_missing_figures_are_nan_whatever_their_type() -> None:
    mixed = runs().assign(**{"ndcg@10_stranger": [0.05, 0.06, None]}).astype({"ndcg@10_stranger": object})
    summary = summarise(mixed, BY).set_index("method")
    assert summary.loc["chord", "ndcg@10_stranger"] == pytest.approx(0.055)
    assert math.isnan(summary.loc["static", "ndcg@10_stranger"])


def test_runs_that_the_columns_do_not_tell_apart_are_refused() -> None:
    several = pd.concat([runs().assign(beta=0.125), runs().assign(beta=0.25)])
    with pytest.raises(ValueError, match="'method': 'chord', 'seed': 0"):
        summarise(several, BY)
    assert len(summarise(several, [*BY, "beta"])) == 4


def test_the_papers_figures_come_beside() -> None:
    summary = pd.concat([summarise(runs(), BY), summarise(runs().assign(method="popular").iloc[:1], BY)])
    frame = beside_paper(summary, table("table2"), BY)
    assert list(frame["method"]) == ["chord", "static", "popular"]
    np.testing.assert_array_equal(frame["ndcg@10_paper"], [0.0707, 0.0515, np.nan])
    np.testing.assert_array_equal(frame["param_mbit_paper"], [0.0435, 2.6624, np.nan])
    np.testing.assert_array_equal(frame["average_bits_paper"], [3, 32, np.nan])
    assert "hr@10_paper" not in frame


def test_variants_find_their_line() -> None:
    columns = ["backbone", "dataset", "deployment_bits", "training_bits"]
    summary = pd.DataFrame([("caser", "yelp", 2.5, 3.0, 0.1)], columns=[*columns, "ndcg@10"])
    assert beside_paper(summary, table("table6"), columns)["ndcg@10_paper"].tolist() == [0.0143]
    ladders = pd.DataFrame([("sasrec", "ml-100k", "2-5-6-7", 0.1)], columns=["backbone", "dataset", "ladder", "hr@10"])
    assert beside_paper(ladders, table("table4"), ["backbone", "dataset", "ladder"])["hr@10_paper"].tolist() == [0.1368]


def test_an_ambiguous_line_of_the_paper_is_refused() -> None:
    with pytest.raises(ValueError, match="not a many-to-one"):
        beside_paper(summarise(runs(), BY), table("table2"), ["backbone", "method"])


def test_markdown_of_table_2(tmp_path: Path) -> None:
    frame = beside_paper(summarise(runs(), BY), table("table2"), BY)
    csv, page = write_table(frame, tmp_path / "new", "table2", "Table 2", ["chord-fl reproduce table2", "2 seeds"])
    assert (csv.name, page.name) == ("table2.csv", "table2.md")
    assert page.read_text() == (
        "# Table 2\n\n## SASRec, ML-100K\n\n"
        "| method | NDCG@10 | paper | average bits | paper | Param, Mbit | paper | adaptation, B per device | seeds |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
        "| chord | **0.0700** ± 0.0141 | 0.0707 | 3.00 | 3.00 | 0.0435 | 0.0435 | 205 | 2 |\n"
        "| static | 0.0500 | 0.0515 | 32.00 | 32.00 | 0.0435 | 2.6624 | 0 | 1 |\n\n"
        "- chord-fl reproduce table2\n- 2 seeds\n"
    )
    again = pd.read_csv(csv)
    assert list(again) == list(frame)
    np.testing.assert_allclose(again["ndcg@10_sd"], frame["ndcg@10_sd"], atol=1e-6)


def test_a_block_for_each_backbone_and_data_set_with_its_own_best(tmp_path: Path) -> None:
    frame = pd.concat([runs(), runs().assign(backbone="caser", **{"ndcg@10": [0.01, 0.01, 0.04]})])
    text = write_table(summarise(frame, BY), tmp_path, "t", "T", [])[1].read_text()
    sasrec, caser = text.split("## ")[1:]
    assert sasrec.startswith("SASRec, ML-100K") and "| chord | **0.0700**" in sasrec and "| static | 0.0500 |" in sasrec
    assert caser.startswith("Caser, ML-100K") and "| chord | 0.0100" in caser and "| static | **0.0400** |" in caser


def test_large_and_absent_numbers(tmp_path: Path) -> None:
    frame = pd.DataFrame({"dataset": ["ml-100k", "x"], "interactions": [97953, 2943170], "density_percent": [9.017, 0]})
    frame["interactions_paper"] = [94672, np.nan]
    csv, page = write_table(frame, tmp_path, "table1", "Table 1", [])
    assert "| ml-100k | 97,953 | 94,672 | 9.02 |\n| x | 2,943,170 | - | 0 |" in page.read_text()
    assert csv.read_text().splitlines()[2] == "x,2943170,0,"


def test_floats_are_written_plainly(tmp_path: Path) -> None:
    frame = pd.DataFrame({"method": ["a"], "uplink_bytes": [1234567.5], "ndcg@10": [0.123456789]})
    csv, page = write_table(frame, tmp_path, "t", "T", [])
    assert csv.read_text().splitlines()[1] == "a,1234567.5,0.123457"
    assert "uplink" not in page.read_text()


def test_tests_over_users_have_blocks_and_tiny_p_keep_their_digits(tmp_path: Path) -> None:
    columns = ["dataset", "backbone", "variant", "difference", "p"]
    frame = pd.DataFrame([("yelp", "caser", "chord, 0.25", -0.01, 1.25e-9)], columns=columns)
    csv, page = write_table(frame, tmp_path, "t", "T", [])
    assert page.read_text().endswith(
        "## Caser, Yelp\n\n| variant | difference | p |\n| --- | ---: | ---: |\n| chord, 0.25 | -0.0100 | <0.0001 |\n"
    )
    assert csv.read_text().splitlines()[1] == 'yelp,caser,"chord, 0.25",-0.01,1.25e-09'


def test_reports_need_neither_flower_nor_the_cloud() -> None:
    program = (
        "import sys, chord_fl.report.tables, chord_fl.report.paired, chord_fl.report.figures\n"
        "print([name for name in ('flwr', 'ray', 'chord_fl.cloud', 'chord_fl.device', 'matplotlib.pyplot')"
        " if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
