import io
from pathlib import Path
from typing import Any

from rich.console import Console

from chord_fl.status import EXPECTED, word
from simulations.console import interrupted, protocol, results_table, results_tables, unlike

SUMMARY = {
    "strategy": "static",
    **{name: 0.0512 for name in ("ndcg@5", "hr@5", "ndcg@10", "hr@10", "ndcg@10_stranger", "hr@10_stranger")},
    **{"ndcg@10_gain": None, "ndcg@10_gain_se": None, "plan_difference": None, "param_mbit": 2.6624},
    **{"average_bits": 0.0, "uplink_bytes": 0, "downlink_bytes": 4_116_080, "adaptation_bytes": 0, "devices": 10},
    **{"adaptation_seconds": 0.001, "over_memory_budget": 0, "failures": 0, "joules": 20.0},
    **{"virtual_seconds_per_device": 1.5, **dict.fromkeys(map(word, EXPECTED), 0)},
}
LABELS = ["chord", "static", "static-3-bits", "finetune", "pemn", "quant", "adabits", "rfquant", "covisitation"]


def test_many_runs_take_as_many_tables_as_the_terminal_needs() -> None:
    for width in (20, 80, 120, 200):
        screen = Console(width=width, file=io.StringIO())
        tables = list(results_tables([{"label": label, **SUMMARY} for label in LABELS], width))
        shown = [str(column.header) for table in tables for column in table.columns[1:]]
        assert shown == LABELS
        for table in tables:
            if len(table.columns) > 2:
                assert screen.measure(table).minimum <= width
        assert (len(tables) == 1) == (width == 200)


def test_counts_have_no_average_bits() -> None:
    (table,) = results_tables([{"label": "popular", **SUMMARY}], 80)
    cells = dict(zip(table.columns[0].cells, table.columns[1].cells, strict=True))
    assert cells["average bits"] == "-" and cells["NDCG@10"] == "0.0512"


def test_who_asks_is_shown_of_several_rounds_alone() -> None:
    lived = {**SUMMARY, "rounds": 4, "asked": 0.25, "drift": 0.0712}
    cells = {str(head): str(cell) for head, cell in _cells(lived).items()}
    assert cells["rounds asking for a plan"] == "25.0%" and cells["drift since plan was made"] == "0.0712"
    assert "drift since plan was made" not in _cells(SUMMARY) and len(_cells(lived)) == len(_cells(SUMMARY)) + 2


def _cells(summary: dict[str, Any]) -> dict[Any, Any]:
    table = results_table([summary])
    return dict(zip(table.columns[0].cells, table.columns[1].cells, strict=True))


def test_the_protocol_says_what_is_held_out() -> None:
    facts = {"dataset": "ml-100k", "backbone": "sasrec", "seed": 0, "devices": 943, "candidates": 0, "seen": "keep"}
    assert "1 round; last item held out, full" in protocol({**facts, "rounds": 1, "sessions": 1})
    assert "10 rounds; last 10 items held out, a round each" in protocol({**facts, "rounds": 10, "sessions": 10})


def test_losses_are_shown_where_there_are_some() -> None:
    (table,) = results_tables([{**SUMMARY, "late": 3}, SUMMARY], 80)
    cells = dict(zip(table.columns[0].cells, table.columns[1].cells, strict=True))
    assert cells["  late"] == "3" and "  lost" not in cells and cells["joules per device"] == "2"


def test_columns_over_different_devices_are_warned_of() -> None:
    everybody = {"label": "chord", "devices": 10, "rounds": 2, "errors": []}
    some = {**everybody, "label": "static", "errors": [{"rows": 12}, {"rows": 3}]}
    assert not list(unlike([everybody, {**everybody, "label": "popular"}]))
    (first, *_) = unlike([everybody, some])
    assert "chord 20, static 5" in first


def test_what_an_interrupt_says_is_true() -> None:
    assert interrupted(0, Path("runs/x")) == "Interrupted: no round was finished."
    assert interrupted(2, Path("runs/x")) == "Interrupted: 2 finished rounds are in runs/x."
