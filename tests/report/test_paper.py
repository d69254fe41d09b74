import pandas as pd
import pytest

from chord_fl.report.paper import TABLES, method_in_paper, table


@pytest.mark.parametrize(("name", "lines"), zip(TABLES, (3, 48, 16, 8, 6, 10, 4), strict=True))
def test_every_printed_line_is_there(name: str, lines: int) -> None:
    frame = table(name)
    assert len(frame) == lines
    assert not frame.isna().any(axis=None)


def test_tables_use_the_columns_of_runs() -> None:
    assert list(table("table2")) == [
        *("backbone", "method", "average_bits", "dataset", "ndcg@5", "hr@5", "ndcg@10", "hr@10", "param_mbit")
    ]
    assert list(table("table3")) == ["backbone", "method", "dataset", "ndcg@10", "hr@10"]
    assert list(table("table4")) == ["backbone", "method", "ladder", "dataset", "ndcg@10", "hr@10"]
    assert list(table("table6")) == [
        *("backbone", "method", "deployment_bits", "training_bits", "dataset", "ndcg@10", "hr@10")
    ]


def test_table_5_is_long_and_its_first_columns_are_amazon_cd() -> None:
    frame = table("table5")
    assert set(frame["dataset"]) == {"amazon-cd", "yelp"}
    # the two lines with full-precision activations are those of Table 2: the heading ML-100K is a misprint
    same = frame[frame["activation_bits"] == 32].merge(table("table2"), on=["backbone", "method", "dataset"])
    assert len(same) == 4
    pd.testing.assert_series_equal(same["ndcg@10_x"], same["ndcg@10_y"], check_names=False)
    pd.testing.assert_series_equal(same["hr@10_x"], same["hr@10_y"], check_names=False)


def test_table_6_is_caser() -> None:
    frame = table("table6").query("deployment_bits == 3").merge(table("table2"), on=["backbone", "method", "dataset"])
    assert list(frame["ndcg@10_x"]) == list(frame["ndcg@10_y"])


def test_a_table_that_the_paper_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="table7"):
        table("table7")


def test_static_is_the_papers_base() -> None:
    assert [method_in_paper(name) for name in ("static", "chord", "popular")] == ["base", "chord", "popular"]
