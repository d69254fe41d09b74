"""The command `chord-fl reproduce`: what it refuses, previews and prints, and what an interruption leaves."""

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest

from simulations.cli import main
from simulations.reproduce_cli import _command

FLAGS = [
    *("--dataset", "synthetic", "--devices", "60", "--items", "100", "--train-users", "40"),
    *("--set", "model.dim=16", "--set", "model.blocks=1", "--seeds", "1", "--backbone", "sasrec"),
]
ROOT = Path(__file__).parents[2]


def called(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["chord-fl", *arguments])
    with pytest.raises(SystemExit) as exit_:
        main()
    return int(str(exit_.value.code))


def test_param_is_the_papers_to_four_decimals(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert called(["reproduce", "param"], monkeypatch) == 0
    table = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert list(table) == ["backbone", "method", "dataset", "param_mbit", "paper"] and len(table) == 48
    assert (table["param_mbit"].round(4) == table["paper"]).all()


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["table9"], ["table9", "table1", "figure5", "param"]),
        (["table2", "--backbone", "gru"], ["--backbone gru", "caser, sasrec"]),
        (["table2", "--set", "seed=3"], ["seed", "--seeds"]),
        (["table2", "--set", "train.checkpoint=x"], ["train.checkpoint"]),
        (["table2", "--set", "model.windw=3"], ["model.windw", "unknown key"]),
        (["table2", "--dataset", "netflix"], ["data.name", "netflix"]),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str],
    parts: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert called(["reproduce", *arguments], monkeypatch) == 2
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert line.startswith("error: ") and all(part in line for part in parts)
    assert not list(tmp_path.iterdir())


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "simulations.cli", "reproduce", *arguments]


def environment(cache: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200", "XDG_CACHE_HOME": str(cache)}


@pytest.mark.slow
def test_table3_through_ray(tmp_path: Path) -> None:
    arguments = command("table3", *FLAGS, "--epochs", "1", "--out", str(tmp_path / "out"))
    run: Callable[[], Any] = partial(
        *(subprocess.run, arguments), env=environment(tmp_path / "cache"), capture_output=True, text=True, timeout=500
    )
    first = run()
    assert first.returncode == 0, first.stderr
    assert "4 models to train, 4 of 4 simulations to run" in first.stderr
    table = pd.read_csv(tmp_path / "out" / "synthetic" / "table3.csv")
    assert len(table) == 4 and table["ndcg@10"].notna().all()
    second = run()
    assert second.returncode == 0 and "0 models to train, 0 of 4 simulations to run" in second.stderr
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "out" / "synthetic" / "table3.csv"), table)


@pytest.mark.slow
def test_ctrl_c_stops_every_process_and_leaves_what_can_be_resumed(tmp_path: Path) -> None:
    arguments = command("table3", *FLAGS, "--epochs", "9999", "--set", "train.patience=9999", "--out", str(tmp_path))
    process = subprocess.Popen(
        arguments, env=environment(tmp_path / "cache"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    children: list[psutil.Process] = []
    try:
        for _ in range(1200):
            begun = list(tmp_path.glob("cache/chord-fl/checkpoints/*/resume.safetensors"))
            if len(begun) >= 2 or process.poll() is not None:
                break
            time.sleep(0.1)
        assert process.poll() is None, process.communicate()
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) >= 2
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130 and "goes on from here" in errors and "Traceback" not in errors
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive
    dry = subprocess.run([*arguments, "--dry-run"], env=environment(tmp_path / "cache"), capture_output=True, text=True)
    assert dry.stdout.count("begun (") == 2


def test_peers_differ_in_what_they_rank_whatever_the_flag_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: dict[str, set[str]] = {}

    def preview(request: Any) -> list[str]:
        _, mine = request.experiments()["peer"]
        seen["seen"] = {run.config.simulation.seen for run in mine}
        return []

    monkeypatch.setattr("simulations.publish.preview", preview)
    monkeypatch.setattr(sys, "argv", ["chord-fl", "reproduce", "peer", "--seen", "exclude", "--dry-run"])
    with pytest.raises(SystemExit):
        main()
    assert seen["seen"] == {"keep", "exclude"}


def test_notes_name_no_folder_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["/usr/bin/chord-fl", "reproduce", "table1", "--path", "/home/somebody/cds.csv", "--out", "results"]
    monkeypatch.setattr(sys, "argv", words)
    assert _command() == "chord-fl reproduce table1 --path cds.csv --out results"
