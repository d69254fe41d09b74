"""Trackers get every epoch and round in order, and never cost a run anything."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from chord_fl.cloud.training import Epoch
from chord_fl.config import Config
from chord_fl.errors import ConfigError
from simulations import prepare
from simulations.tracking import follower
from tests.polled import chord_fl

Make = Callable[..., Config]
PAGE = (Path(__file__).parents[2] / "docs" / "tracking.md").read_text()
TINY = [
    *("--dataset", "synthetic", "--devices", "40", "--items", "60", "--train-users", "30", "--epochs", "2"),
    *("--window", "5", "--history", "10", "--blocks", "1", "--set", "model.dim=16", "--workers", "1"),
]

RECORDING = """
from pathlib import Path
calls = []
class Recording:
    fails = None
    def start(self, config, folder):
        self._call("start", config["strategy"], Path(folder).name)
    def log(self, kind, step, figures):
        self._call("log", kind, step, figures)
    def close(self):
        self._call("close")
    def _call(self, name, *what):
        calls.append((name, *what))
        print("a tracker that talks")
        if name == self.fails:
            raise RuntimeError("no disk")
class Failing(Recording):
    fails = "log"
class Mute:
    def start(self, config, folder): ...
class Broken:
    def __init__(self): raise OSError("no server")
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module with trackers in the current folder, importable as that of a user is."""
    monkeypatch.chdir(tmp_path)
    name = f"trackers_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(RECORDING)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    return name


def test_a_run_is_followed_from_start_to_end(
    module: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["simulate", *TINY, "--checkpoint", "ck", "--out", "run", "--rounds", "2"]
    assert chord_fl(monkeypatch, *arguments, "--track", f"{module}:Recording") == 0
    calls = sys.modules[module].calls
    assert [call[:3] for call in calls] == [
        ("start", "chord", "run"),
        *(("log", "training", epoch) for epoch in (1, 2)),
        *(("log", "round", number) for number in (1, 2)),
        ("close",),
    ]
    curve = pd.read_csv("ck/chord/training.csv").set_index("epoch")
    assert calls[1][3]["loss"] == pytest.approx(curve.loc[1, "loss"])
    assert calls[2][3]["ndcg@10"] == pytest.approx(curve.loc[2, "ndcg@10"])
    rounds = pd.read_csv("run/rounds.csv").set_index("round")
    for _, _, number, figures in calls[3:5]:
        numeric = rounds.loc[number, rounds.select_dtypes("number").columns].dropna().astype(float).to_dict()
        assert figures == pytest.approx(numeric)
    assert "a tracker that talks" not in capsys.readouterr().out, "stdout is for results"


def test_a_tracker_that_raises_is_dropped_and_the_run_goes_on(
    module: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["simulate", *TINY, "--checkpoint", "ck", "--out", "run", "--quiet"]
    assert chord_fl(monkeypatch, *arguments, "--track", f"{module}:Failing") == 0
    assert [call[0] for call in sys.modules[module].calls] == ["start", "log"]
    warnings = [line for line in capsys.readouterr().err.splitlines() if "--track" in line]
    assert warnings == [f"--track {module}:Failing: log failed (RuntimeError: no disk); the run goes on without it"]
    assert (Path("run") / "summary.json").exists()


def test_every_strategy_of_a_comparison_has_a_tracker(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["compare", *TINY, "--strategies", "static,static:3", "--checkpoint", "ck", "--out", "both"]
    assert chord_fl(monkeypatch, *arguments, "--track", f"{module}:Recording") == 0
    calls = sys.modules[module].calls
    assert [call[2] for call in calls if call[0] == "start"] == ["static", "static-3-bits"]
    assert [call[0] for call in calls].count("close") == 2


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("wandb", ["tensorboard", "MODULE:NAME"]),
        ("no_such_module:Tracker", ["no module no_such_module, neither here nor installed"]),
        ("{module}:Nobody", ["Nobody"]),
        ("{module}:calls", ["TypeError", "not callable"]),
        ("{module}:Mute", ["has no method log", "start, log, close"]),
        ("{module}:Broken", ["OSError: no server"]),
    ],
)
def test_what_is_no_tracker_is_said_before_any_work(module: str, name: str, parts: list[str]) -> None:
    given = name.format(module=module)
    with pytest.raises(ConfigError) as caught:
        follower(given, pytest.fail)
    assert str(caught.value).startswith(f"--track {given}: ") and "\n" not in str(caught.value)
    for part in parts:
        assert part in str(caught.value)


def test_tensorboard_holds_epochs_rounds_and_the_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    arguments = ["simulate", *TINY, "--checkpoint", str(tmp_path / "ck"), "--out", str(tmp_path / "run")]
    assert chord_fl(monkeypatch, *arguments, "--rounds", "2", "--track", "tensorboard") == 0
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    rounds = pd.read_csv(tmp_path / "run" / "rounds.csv")
    curve = pd.read_csv(tmp_path / "ck" / "chord" / "training.csv")
    for tag, expected in (("round/ndcg@10", rounds["ndcg@10"]), ("training/loss", curve["loss"])):
        found = events.Scalars(tag)
        assert [scalar.step for scalar in found] == [1, 2]
        assert [scalar.value for scalar in found] == pytest.approx(list(expected), rel=1e-6)
    numeric = rounds.select_dtypes("number").dropna(axis=1).columns.drop("round")
    assert {f"round/{name}" for name in numeric} <= set(events.Tags()["scalars"])
    (text,) = events.Tensors("config/text_summary")
    assert 'strategy = "chord"' in text.tensor_proto.string_val[0].decode()


def test_tensorboard_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    monkeypatch.delitem(sys.modules, "simulations.tensorboard", raising=False)
    with pytest.raises(ConfigError, match=r"^--track tensorboard: .*pip install 'chord-fl\[tensorboard\]'$"):
        follower("tensorboard", pytest.fail)


def test_the_example_of_the_page_works(config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_tracker.py").write_text(code)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    settings = config()
    followed = follower("my_tracker:JsonLines", pytest.fail)
    with followed.following(settings, tmp_path):
        prepare.trained(settings, "chord")
        followed.training(prepare.SILENT).on_epoch(Epoch(3, 5.0, {"ndcg@10": 0.05}, True, 1.5))
        followed.round({"round": 1, "strategy": "chord", "constrain": True, "ndcg@10": 0.5, "drift": float("nan")})
    lines = [pd.Series(line) for line in map(json.loads, (tmp_path / "figures.jsonl").read_text().splitlines())]
    assert [tuple(line[["kind", "step"]]) for line in lines] == [("training", 3), ("round", 1)]
    assert lines[1]["ndcg@10"] == 0.5 and "drift" not in lines[1] and "constrain" not in lines[1]
