"""The command line as a user calls it: in a process of its own, judged by its exit code, its output and its files."""

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from simulations.cli import main

TINY = [
    *("--dataset", "synthetic", "--devices", "150", "--items", "200", "--train-users", "60", "--epochs", "1"),
    *("--window", "5", "--history", "10", "--blocks", "1", "--set", "model.dim=16", "--workers", "1"),
]
SUMMARY_KEYS = {
    *("strategy", "dataset", "backbone", "devices", "rounds", "seed", "ndcg@5", "hr@5", "ndcg@10", "hr@10"),
    *("ndcg@10_stranger", "hr@10_stranger", "plan_difference", "average_bits", "param_mbit", "uplink_bytes"),
    *("downlink_bytes", "failures", "wall_seconds", "devices_per_second"),
}
DEVICE_COLUMNS = {
    *("round", "device", "strategy", "average_bits", "memory_bytes", "memory_budget_bytes", "uplink_bytes"),
    *("downlink_bytes", "envelope_bytes", "rank", "ndcg@10", "hr@10", "seconds", "error"),
}


def chord_fl(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, cwd=cwd, env=ENVIRONMENT, timeout=300)


COMMAND = [sys.executable, "-m", "simulations.cli"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "COLUMNS": "80"}


def in_process(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str]:
    """The exit code and the errors of a command that does not get as far as starting anything."""
    monkeypatch.setattr(sys, "argv", ["chord-fl", *arguments])
    with pytest.raises(SystemExit) as exit_:
        main()
    return int(str(exit_.value.code)), capsys.readouterr().err


def one_line_error(result: subprocess.CompletedProcess[str], *parts: str) -> None:
    """Exit code 2, and one line that holds all of `parts`, without a traceback."""
    assert result.returncode == 2, result.stderr
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    assert len(lines) == 1 and lines[0].startswith("error: "), result.stderr
    for part in parts:
        assert part in lines[0]


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path, str]]:
    """One `compare` of all strategies: its folder, its checkpoints, and what it printed."""
    folder = tmp_path_factory.mktemp("compare")
    result = chord_fl("compare", *TINY, "--checkpoint", str(folder / "ck"), "--out", str(folder / "out"))
    assert result.returncode == 0, result.stderr
    yield folder / "out", folder / "ck", result.stdout + result.stderr


def test_compare_prints_one_table_and_leaves_every_file(comparison: tuple[Path, Path, str]) -> None:
    out, _, printed = comparison
    for text in (
        "NDCG@10",
        "stranger",
        "average bits",
        "Param",
        "bytes up",
        "bytes down",
        "failures",
        "report.html",
        "epoch   1",
    ):
        assert text in printed
    table = pd.read_csv(out / "compare.csv").set_index("strategy")
    assert list(table.index) == ["chord", "static", "finetune"]
    for name in table.index:
        summary = json.loads((out / name / "summary.json").read_text())
        assert summary.keys() >= SUMMARY_KEYS
        assert (summary["strategy"], summary["devices"], summary["failures"]) == (name, 150, 0)
        rows = pd.read_parquet(out / name / "devices.parquet")
        assert set(rows) >= DEVICE_COLUMNS and len(rows) == 150
        assert summary["downlink_bytes"] == rows["downlink_bytes"].sum()
        rounds = pd.read_csv(out / name / "rounds.csv")
        assert rounds["ndcg@10"].tolist() == pytest.approx([summary["ndcg@10"]])
        assert summary["uplink_bytes"] == rounds["uplink_bytes"].sum()
    assert table.loc["chord", "average_bits"] < 4 < table.loc["static", "average_bits"] == 32
    assert table["param_mbit"].is_monotonic_increasing
    assert table.loc["chord", "cannot_hold"] < table.loc["static", "cannot_hold"] < 150
    assert (table["over_memory_budget"] == 0).all() and "cannot hold" in printed
    assert pd.isna(table.loc["static", "ndcg@10_stranger"])


def test_the_config_of_a_run_runs_it_again_to_the_same_result(
    comparison: tuple[Path, Path, str], tmp_path: Path
) -> None:
    out, _, _ = comparison
    config = out / "chord" / "config.toml"
    assert tomllib.loads(config.read_text())["model"]["window"] == 5
    result = chord_fl("simulate", "--config", str(config), "--workers", "1", "--out", str(tmp_path / "again"))
    assert result.returncode == 0, result.stderr
    assert "No checkpoint" not in result.stderr  # the checkpoint was found, nothing was trained
    timed = ["seconds", "adaptation_seconds"]
    before, after = (pd.read_parquet(folder / "devices.parquet") for folder in (out / "chord", tmp_path / "again"))
    pd.testing.assert_frame_equal(before.drop(columns=timed), after.drop(columns=timed))


def test_a_checkpoint_of_another_configuration_is_refused_before_any_work(
    comparison: tuple[Path, Path, str], tmp_path: Path
) -> None:
    _, checkpoints, _ = comparison
    arguments = [*TINY, "--checkpoint", str(checkpoints), "--window", "6", "--out", str(tmp_path / "x")]
    one_line_error(chord_fl("simulate", *arguments), "model.window is 5 there, 6 here")


def test_an_existing_result_is_not_overwritten(comparison: tuple[Path, Path, str]) -> None:
    out, checkpoints, _ = comparison
    result = chord_fl("simulate", *TINY, "--checkpoint", str(checkpoints), "--out", str(out / "chord"))
    one_line_error(result, "another run")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["simulate", "--strategy", "sorcery"], ["strategy", "sorcery", "chord, static, finetune"]),
        (["simulate", "--dataset", "netflix"], ["data.name", "netflix", "ml-100k"]),
        (["simulate", "--beta", "0.5"], ["model.beta", "0.5", "less than 0.5"]),
        (["simulate", "--beta", "nan"], ["model.beta"]),
        (["simulate", "--bits", "9"], ["static.bits", "9", "32"]),
        (["simulate", "--ladder", "1-2-3-4"], ["model.ladder", "2-4-6-8", "2-5-6-7"]),
        (["simulate", "--devices", "0"], ["data.devices", "0"]),
        (["simulate", "--set", "model.windw=3"], ["model.windw", "unknown key", "window"]),
        (["simulate", "--set", "nonsense"], ["KEY=VALUE"]),
        (["simulate", "--sessions", "0"], ["life.sessions", "0"]),
        (["simulate", "--sessions", "5", "--rounds", "3"], ["simulation.rounds = 3", "life.sessions is 5"]),
        (["simulate", "--refresh", "cosine:3"], ["life.refresh", "cosine:3", "once", "0 to 2"]),
        (["compare", "--refresh", "never"], ["life.refresh", "never", "always"]),
        (["simulate", "--preset", "mainframe"], ["preset", "laptop, thousands"]),
        (["simulate", "--config", "missing.toml"], ["missing.toml"]),
        (["simulate", "--dataset", "csv"], ["data.path"]),
        (["simulate", "--dataset", "csv", "--path", "missing.csv"], ["missing.csv"]),
        (["simulate", "--dataset", "synthetic", "--out", "/proc/nowhere"], ["/proc/nowhere", "written"]),
        (["compare", "--strategies", "chord,sorcery"], ["sorcery"]),
        (["simulate", "--dataset", "synthetic", "--candidates", "100"], ["simulation.candidates", "100"]),
        (["data", "csv", "--path", "missing.csv"], ["missing.csv"]),
        (["simulate", "--population", "tablets"], ["population.source", "tablets", "phones, budget-phones, commuters"]),
        (["simulate", "--population", "missing.csv"], ["missing.csv"]),
        (["devices", "--population", "missing.parquet"], ["missing.parquet"]),
        (["simulate", "--availability", "sometimes"], ["population.availability", "always, diurnal"]),
        (["simulate", "--availability", "missing.json"], ["missing.json"]),
        (["simulate", "--lost", "1.5"], ["faults.lost", "1.5", "1"]),
        (["simulate", "--dropout", "-0.1"], ["faults.dropout", "-0.1"]),
        (["simulate", "--corrupted", "0.7", "--lost", "0.7"], ["faults.lost + faults.corrupted"]),
        (["simulate", "--deadline", "0"], ["clock.deadline", "0"]),
        (["simulate", "--set", "clock.processor_watts=nan"], ["clock.processor_watts"]),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: list[str],
    parts: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    code, errors = in_process(arguments, monkeypatch, capsys)
    one_line_error(subprocess.CompletedProcess(arguments, code, stderr=errors), *parts)
    assert not list(tmp_path.iterdir())  # nothing was begun


PHONES = "ram_gb,score,downlink,uplink,metered\n"
WORLDS = {
    "row.csv": (f"{PHONES}4,500,1e6,1e6,0\n4,-500,1e6,1e6,0\n", "row 2, column score: found -500"),
    "nan.csv": (f"{PHONES}4,500,,1e6,0\n", "row 1, column downlink: found nan"),
    "share.csv": (f"{PHONES}4,500,1e6,1e6,1.5\n", "row 1, column metered: found 1.5"),
    "capacity.json": ('{"7": {"computation": 0, "communication": 9}}', "client 7, column computation: found 0"),
}
TRACE = '{"8": {"active": [5, 1], "inactive": [6, 9], "finish_time": 9}}'


@pytest.mark.parametrize("command", ["simulate", "devices"])
@pytest.mark.parametrize("name", [*WORLDS, "trace.json"])
def test_a_bad_file_is_one_line_with_its_place_and_exit_code_2(
    command: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text, place = WORLDS.get(name, (TRACE, "client 8, active[1]: 1 comes before 6"))
    (tmp_path / name).write_text(text)
    flag = "--availability" if name == "trace.json" else "--population"
    out = ["--out", str(tmp_path / "run")]
    data = ["--dataset", "synthetic", "--items", "200"] if command == "simulate" else []
    code, errors = in_process(
        [command, *data, "--devices", "50", flag, str(tmp_path / name), *out], monkeypatch, capsys
    )
    one_line_error(subprocess.CompletedProcess([], code, stderr=errors), str(tmp_path / name), place)
    assert not (tmp_path / "run").exists(), "nothing was begun"


@pytest.mark.parametrize("command", ["simulate", "devices"])
def test_a_population_of_which_nobody_can_hold_anything_is_refused(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    phones = {"memory_bytes": [10.0, 200.0, 30.0], "score": 1000, "downlink": 1e6, "uplink": 1e6}
    pd.DataFrame(phones).to_csv(tmp_path / "tiny.csv", index=False)
    model = ["--set", "model.blocks=1", "--set", "model.dim=16"]
    data = ["--dataset", "synthetic", "--items", "200"] if command == "simulate" else []
    arguments = [command, *data, *model, "--population", str(tmp_path / "tiny.csv"), "--out", str(tmp_path / "run")]
    code, errors = in_process(arguments, monkeypatch, capsys)
    result = subprocess.CompletedProcess(arguments, code, stderr=errors)
    one_line_error(result, "tiny.csv, row 2, column memory_bytes", "720 bytes", "is 200")
    assert not (tmp_path / "run").exists()


def test_devices_prints_quantiles_and_writes_figures(tmp_path: Path) -> None:
    phones = {"ram_gb": [1.0, 3.0, 8.0], "score": [300, 700, 2500], "downlink": 1e6, "uplink": 1e6, "metered": 1.0}
    pd.DataFrame(phones).to_csv(tmp_path / "mine.csv", index=False)
    arguments = ["--population", str(tmp_path / "mine.csv"), "--devices", "30", "--out", str(tmp_path / "out")]
    result = chord_fl("devices", *arguments)
    assert result.returncode == 0, result.stderr
    for text in ("mine.csv: 30 devices", "RAM, GB", "metered: 100.0%"):
        assert text in result.stdout
    rows = pd.read_csv(tmp_path / "out" / "devices.csv")
    assert rows["ram_gb"].tolist() == [1.0, 3.0, 8.0] * 10
    for name in ("quantiles.csv", "population.png", "population.svg"):
        assert (tmp_path / "out" / name).stat().st_size > 0


def test_data_prints_the_statistics_of_a_file(tmp_path: Path) -> None:
    rows = [{"who": user, "what": f"item {item}", "when": item} for user in range(12) for item in range(10)]
    pd.DataFrame(rows).to_csv(tmp_path / "log.csv", index=False)
    columns = ["--user-column", "who", "--item-column", "what", "--time-column", "when"]
    result = chord_fl("data", "csv", "--path", str(tmp_path / "log.csv"), *columns)
    assert result.returncode == 0, result.stderr
    for text in ("12", "10", "120", "100.000%"):
        assert text in result.stdout


def test_an_interrupted_run_keeps_its_finished_rounds(comparison: tuple[Path, Path, str], tmp_path: Path) -> None:
    _, checkpoints, _ = comparison
    out = tmp_path / "interrupted"
    arguments = ["simulate", *TINY, "--checkpoint", str(checkpoints), "--rounds", "100000", "--out", str(out)]
    process = subprocess.Popen(
        [*COMMAND, *arguments], env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        for _ in range(1200):
            if (out / "summary.json").exists() or process.poll() is not None:
                break
            time.sleep(0.1)
        assert process.poll() is None, process.communicate()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130, errors
    assert "Traceback" not in errors and str(out) in errors.replace("\n", "")
    rounds = json.loads((out / "summary.json").read_text())["rounds"]
    assert rounds >= 1
    assert len(pd.read_parquet(out / "devices.parquet")) == 150 * rounds == 150 * len(pd.read_csv(out / "rounds.csv"))
