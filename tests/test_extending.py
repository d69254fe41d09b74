"""docs/extending.md, executed: each file as it stands there, each line put into the dict that it names."""

import importlib
import importlib.util
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from chord_fl.config import Config, make_config
from chord_fl.errors import ConfigError, DataError
from chord_fl.models.counts import reference_spec
from chord_fl.report.paper import table as paper_table
from simulations.cli import app
from strategies.loading import load
from tests.inprocess import simulate, small

PAGE = Path(__file__).parents[1] / "docs" / "extending.md"
BLOCKS = re.findall(r"<!-- (file|line): (\S+) -->\n\n```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
FILES = {name: text for kind, name, text in BLOCKS if kind == "file"}
LINES = {place: text for kind, place, text in BLOCKS if kind == "line"}

Patch = pytest.MonkeyPatch


@pytest.fixture
def written(tmp_path: Path, monkeypatch: Patch) -> Callable[[str], None]:
    """Make a file of the page importable by the name that its place gives it."""

    def write(name: str) -> None:
        path = tmp_path / Path(name).name
        path.write_text(FILES[name], encoding="utf-8")
        module_name = name.removesuffix(".py").replace("/", ".")
        spec: Any = importlib.util.spec_from_file_location(module_name, path)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, module_name, module)
        spec.loader.exec_module(module)

    return write


def add(monkeypatch: Patch, place: str) -> str:
    """Put the line of the page into its dict; returns the name that it makes."""
    module_name, _, name = place.partition(":")
    module = importlib.import_module(module_name)
    [(key, value)] = eval("{" + LINES[place] + "}", vars(module)).items()
    monkeypatch.setitem(getattr(module, name), key, value)
    return str(key)


def fenced(text: str) -> int:
    return text.count("```python")


def test_every_example_of_the_page_is_executed_here() -> None:
    assert fenced(PAGE.read_text(encoding="utf-8")) == len(BLOCKS) == len(FILES) + len(LINES) == 8
    source = Path(__file__).read_text(encoding="utf-8")
    assert all(f'"{name}"' in source for name in (*FILES, *LINES))


def test_the_readme_points_there() -> None:
    assert "docs/extending.md" in (PAGE.parents[1] / "README.md").read_text(encoding="utf-8")


def test_the_plan_strategy(config: Callable[..., Config], tmp_path: Path, written: Callable[[str], None]) -> None:
    written("uniform.py")
    settings = config(strategy="uniform:Uniform", strategy_options={"code": 2})
    finished = simulate(settings, tmp_path / "run")
    assert 4 < finished.summary["average_bits"] < 6, "weak phones lower their plans"
    assert finished.summary["plan_difference"] == 0
    assert (finished.devices["rank"] == finished.devices["rank_stranger"]).all(), "nothing personal in them"


def test_the_flower_strategy(config: Callable[..., Config], tmp_path: Path, written: Callable[[str], None]) -> None:
    written("careful.py")
    ranks = []
    for share in (0.0, 1.0):
        settings = config(strategy="careful:Careful", strategy_options={"share": share})
        ranks.append(simulate(settings, tmp_path / str(share)).devices["rank"].tolist())
    static = simulate(config(strategy="static"), tmp_path / "static").devices["rank"].tolist()
    fedavg = simulate(config(strategy="flwr.serverapp.strategy:FedAvg"), tmp_path / "fedavg").devices["rank"].tolist()
    assert ranks[0] == static and np.mean(np.array(ranks[1]) == fedavg) > 0.9, "its whole step is FedAvg's, rounded"


@pytest.mark.parametrize("strategy", ["chord", "quant", "finetune", "flwr.serverapp.strategy:FedAvg"])
def test_the_backbone(tmp_path: Path, monkeypatch: Patch, written: Callable[[str], None], strategy: str) -> None:
    with pytest.raises(ConfigError, match="input should be 'sasrec' or 'caser'"):
        small(tmp_path, model__backbone="averaging")
    written("chord_fl/models/averaging.py")
    name = add(monkeypatch, "chord_fl.models.backbones:BACKBONES")
    settings = small(tmp_path / "checkpoint", model__backbone=name, strategy=strategy, data__devices=20)
    assert make_config({"model": {"backbone": name}}).model.window == 10
    spec = reference_spec(settings.model, 200, 0)
    backbone = spec.build_backbone().eval()
    windows = torch.tensor([[0, 0, 4, 9, 2]])
    longer = torch.tensor([[0, 4, 9, 2, 7]])
    first, second = (backbone(rows, spec.frozen_weights()) for rows in (windows, longer))
    assert torch.allclose(first[0, -1], second[0, -2]), "causal, and padding does not show"
    finished = simulate(settings, tmp_path / "run")
    assert (finished.devices["status"] == "ok").all() and finished.summary["backbone"] == name


def test_the_data_set(tmp_path: Path, monkeypatch: Patch, written: Callable[[str], None]) -> None:
    written("chord_fl/data/lastfm.py")
    name = add(monkeypatch, "chord_fl.data.sources:SOURCES")
    monkeypatch.setattr("chord_fl.config.NAMES", ("ml-100k", name))
    plays = tmp_path / "plays.tsv"
    rows = (
        f'user_{user:06}\t2009-05-{1 + play:02}T23:08:57Z\tid\tArtist {(user * play) % 7} "The"\tid\tTrack\n'
        for user in range(12)
        for play in range(20)
    )
    plays.write_text("".join(rows), encoding="utf-8")
    options = ["--path", str(plays), "--data-dir", str(tmp_path), "--core", "3"]
    result = CliRunner().invoke(app, ["data", name, *options])
    assert result.exit_code == 0 and "12" in result.output and name not in paper_table("table1")["dataset"].tolist()
    with pytest.raises(ConfigError, match=f"data.path is required when data.name is {name}: get it from"):
        make_config({"data": {"name": name}})
    plays.write_text("one column\n")
    with pytest.raises(DataError, match=r"plays.tsv: no plays of Last.fm-1K \([^\n]+\)$"):
        CliRunner().invoke(app, ["data", name, *options], catch_exceptions=False)


def test_the_baseline(tmp_path: Path, monkeypatch: Patch, written: Callable[[str], None]) -> None:
    written("chord_fl/baselines/ternary.py")
    name = add(monkeypatch, "chord_fl.baselines:BASELINES")
    settings = small(tmp_path / "checkpoint", strategy=name, data__devices=20)
    finished = simulate(settings, tmp_path / "run")
    assert (finished.devices["status"] == "ok").all() and (finished.devices["average_bits"] == 2).all()
    model = finished.strategy.trained.model
    kind: Any = load(name)
    assert kind.param_mbit(settings, model.spec.layout) * 1e6 == 2 * model.spec.layout.weights + 32 * 80
    for deployed in model.deployed():
        assert all(len(channel.unique()) <= 3 for channel in deployed.detach())
