"""What simulate, compare, train, data and devices print, and where: results on stdout, all else on stderr."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from flwr.app import Context, Message

from simulations import client_app
from strategies.messages import devices_of
from tests.polled import chord_fl

TINY = [
    *("--dataset", "synthetic", "--devices", "90", "--items", "60", "--train-users", "30", "--epochs", "1"),
    *("--window", "5", "--history", "10", "--blocks", "1", "--set", "model.dim=16", "--workers", "1"),
]
Out = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Arguments of a run whose checkpoint the first that needs it trains."""
    return [*TINY, "--no-constrain", "--checkpoint", str(tmp_path_factory.mktemp("checkpoints"))]


def client(message: Message, context: Context) -> Message:
    """A node that breaks on the last exchange of those asked about a device below 15, the others as they are."""
    if "evaluate" in message.metadata.message_type and (devices_of(message) < 10).any():
        raise RuntimeError(f"\x1b[2Jout of memory at {context.node_id}")
    return client_app.app(message, context)


def everyone(message: Message, context: Context) -> Message:
    raise RuntimeError("nothing works")


def test_json_is_the_summary_and_nothing_else(
    tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Out
) -> None:
    assert chord_fl(monkeypatch, "simulate", *tiny, "--rounds", "2", "--json", "--out", str(tmp_path / "run")) == 0
    shown = capsys.readouterr()
    document = json.loads(shown.out)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert document == {**summary, "folder": str(tmp_path / "run"), "errors": []}
    progress = [line for line in shown.err.splitlines() if line.startswith("chord: ")]
    assert progress[0] == "chord: starting the engine for 90 devices"
    assert progress[-1].startswith("chord: round 2 of 2, plan: 90 of 90 devices; ")
    assert f"NDCG@10 {summary['ndcg@10']:.4f}" in progress[-1]
    assert all(character.isprintable() or character == "\n" for character in shown.err)


def test_quiet_prints_the_result_alone(
    tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Out
) -> None:
    assert chord_fl(monkeypatch, "simulate", *tiny, "--quiet", "--out", str(tmp_path / "run")) == 0
    shown = capsys.readouterr()
    assert shown.err == "" and "NDCG@10" in shown.out and f"Results: {tmp_path / 'run'}/summary.json" in shown.out
    assert "Without a result" not in shown.out


def test_errors_of_clients_are_counted_where_the_result_is(
    tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Out
) -> None:
    arguments = ["simulate", *tiny, "--set", "simulation.devices_per_node=10"]
    assert chord_fl(monkeypatch, *arguments, "--out", str(tmp_path / "one"), client=client) == 0
    shown = capsys.readouterr()
    assert "Without a result: 10 of 90 rows" in shown.out
    assert "10  failed: " in shown.out and "(such as device 0, round 1)" in shown.out and "\x1b" not in shown.out
    assert chord_fl(monkeypatch, *arguments, "--json", "--out", str(tmp_path / "two"), client=client) == 0
    (error,) = json.loads(capsys.readouterr().out)["errors"]
    assert (error["status"], error["rows"], error["device"], error["round"]) == ("failed", 10, 0, 1)
    assert "out of memory" in error["error"]


def test_a_run_that_failed_says_why_in_full(
    tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Out
) -> None:
    arguments = ["simulate", *tiny, "--strategy", "static", "--json", "--out", str(tmp_path / "run")]
    assert chord_fl(monkeypatch, *arguments, client=everyone) == 1
    shown = capsys.readouterr()
    document = json.loads(shown.out)
    assert document["failures"] == 90 and [error["rows"] for error in document["errors"]] == [90]
    assert shown.err.splitlines()[-1].startswith("error: round 1: 90 of 90 devices failed; ")


def test_compare_as_json_is_a_list_of_runs(
    tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Out
) -> None:
    arguments = ["compare", *tiny, "--strategies", "static,static:3,popular", "--json", "--quiet"]
    assert chord_fl(monkeypatch, *arguments, "--out", str(tmp_path / "all")) == 0
    shown = capsys.readouterr()
    runs = json.loads(shown.out)
    assert [run["label"] for run in runs] == ["static", "static-3-bits", "popular"] and shown.err == ""
    for run in runs:
        summary = json.loads((Path(run["folder"]) / "summary.json").read_text())
        assert run == {"label": run["label"], **summary, "folder": run["folder"], "errors": []}
    table = pd.read_csv(tmp_path / "all" / "compare.csv")
    assert table["label"].tolist() == [run["label"] for run in runs]
    assert not {"errors", "folder"} & set(table)


def test_train_says_what_came_out_and_what_was_there(
    tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Out
) -> None:
    arguments = _without(tiny, "--devices", "--workers", "--no-constrain", "--checkpoint")
    arguments = ["train", *arguments, "--checkpoint", str(tmp_path / "ck"), "--json"]
    for before in (False, True):
        assert chord_fl(monkeypatch, *arguments) == 0
        shown = capsys.readouterr()
        document = json.loads(shown.out)
        assert document["trained_before"] is before and Path(document["checkpoint"]) == tmp_path / "ck" / "chord"
        assert document["best"]["epoch"] == 1 and 0 <= document["best"]["ndcg@10"] <= 1
        assert ("epoch   1" in shown.err) is not before


def test_data_and_devices_as_json(monkeypatch: pytest.MonkeyPatch, capsys: Out) -> None:
    assert chord_fl(monkeypatch, "data", "synthetic", "--devices", "50", "--items", "40", "--json", "--quiet") == 0
    shown = capsys.readouterr()
    figures: dict[str, Any] = json.loads(shown.out)
    assert (figures["users"], figures["items"], figures["paper"]) == (50, 40, []) and shown.err == ""
    assert figures["density"] == pytest.approx(figures["interactions"] / 2000)
    assert chord_fl(monkeypatch, "devices", "--devices", "50", "--json") == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["devices"] == 50 and figures["quantiles"]["RAM, GB"]["50%"] > 0
    assert 0 <= figures["shares"]["charging"] <= 1


def _without(arguments: list[str], *names: str) -> list[str]:
    """`arguments` without some options and their values."""
    kept, skipping = [], False
    for word in arguments:
        if word.startswith("--"):
            skipping = word in names
        if not skipping:
            kept.append(word)
    return kept
