"""`chord-fl report` as a user calls it."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from chord_fl.config import Config
from simulations.cli import main
from simulations.console import how_to_report
from tests.inprocess import simulate


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command in this process: its exit code, and what it printed."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["chord-fl", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            main()
        printed = capsys.readouterr()
        return int(exit_.value.code or 0), printed.out, printed.err

    return run


def test_it_writes_one_file_and_names_what_it_left_out(
    call: Callable[..., tuple[int, str, str]], config: Callable[..., Config], tmp_path: Path
) -> None:
    run = simulate(config(), tmp_path / "runs" / "one").folder
    broken = Path(shutil.copytree(run, tmp_path / "runs" / "two"))
    (broken / "summary.json").unlink()
    page = tmp_path / "new" / "page.html"
    code, out, err = call("report", tmp_path / "runs", "--out", page)
    assert code == 0 and "Report of 1 run" in out and str(page) in out
    assert "Left out" in err and str(broken) in err and "no round is finished" in err
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert list(page.parent.iterdir()) == [page]
    code, out, _ = call("report", run, "--out", page, "--quiet", "--json")
    assert code == 0 and json.loads(out) == {"page": str(page), "runs": 1, "left_out": [], "figures": []}


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["nowhere"], "nowhere: no such folder"),
        (["."], "holds no run"),
        ([".", "--out", "."], "--out .: a folder"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    call: Callable[..., tuple[int, str, str]],
    arguments: list[str],
    part: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = call("report", *arguments)
    assert code == 2 and part in err
    assert len([line for line in err.splitlines() if line.strip()]) == 1
    assert not list(tmp_path.iterdir())


def test_runs_say_how_to_report_them() -> None:
    assert how_to_report(Path("runs/mine")) == "Report: chord-fl report runs/mine --out runs/mine/report.html"
