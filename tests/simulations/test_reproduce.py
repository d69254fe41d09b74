"""`chord-fl reproduce`: trains and simulates what is missing, reuses what is done, survives what fails."""

import io
import json
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from chord_fl.config import Config, PopulationConfig
from chord_fl.errors import ChordError
from chord_fl.trees import read_toml, write_toml
from simulations import engine, experiments, prepare, publish, reproduce
from simulations.experiments import EXPERIMENTS, Case, changes
from simulations.options import resolve
from simulations.reproduce import Run
from simulations.server_app import run_rounds
from simulations.watch import Watch
from strategies.base import DeviceStrategy
from tests.inprocess import InProcessGrid, exported, flower_task
from tests.tiny import make


def request(what: str, out: Path, *settings: str, seeds: int = 1) -> publish.Request:
    return publish.Request(
        what=what,
        backbones=("sasrec",),
        seeds=seeds,
        out=out,
        jobs=2,
        make=partial(_make, settings),
        asked=(),
        dataset="synthetic",
        command="chord-fl reproduce",
        started=time.time(),
        commit="abc1234",
    )


def _make(settings: tuple[str, ...], changes: Mapping[str, Any]) -> Config:
    return make(changes, *settings)


class Workshop:
    """Trains and simulates in this process, and notes what."""

    def __init__(self) -> None:
        self.trained: list[str] = []
        self.simulated: list[str] = []
        self.broken: set[str] = set()  # labels of trainings and strategies that fail

    def train_all(self, trainings: Any, jobs: int, console: Console) -> dict[Path, str]:
        failures = {}
        for training in trainings:
            if training.label in self.broken:
                failures[training.folder] = "out of luck"
            elif not reproduce.is_finished(training):
                self.trained.append(training.label)
                prepare.trained(training.config, training.method)
        return failures

    def run(
        self, strategy: DeviceStrategy, config: Config, devices: int, verbose: bool = False, watch: Watch | None = None
    ) -> None:
        self.simulated.append(config.strategy)
        if config.strategy in self.broken:
            raise ChordError("no engine")
        with exported(config), flower_task():
            run_rounds(InProcessGrid(engine.nodes(config, devices)), strategy, config)

    def forget(self) -> None:
        self.trained, self.simulated = [], []


@pytest.fixture
def workshop(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    workshop = Workshop()
    monkeypatch.setattr(reproduce, "train_all", workshop.train_all)
    monkeypatch.setattr(engine, "run", workshop.run)
    return workshop


def carried_out(asked: publish.Request) -> tuple[bool, str]:
    """Whether everything is there, and what was printed."""
    text = io.StringIO()
    console = Console(file=text, width=200)
    return publish.publish(asked, console, console), text.getvalue()


def test_a_table_has_figures_notes_and_tests_and_a_second_call_does_nothing(workshop: Workshop, tmp_path: Path) -> None:
    complete, printed = carried_out(request("table3", tmp_path, seeds=2))
    assert complete and "+customization" in printed
    assert len(workshop.trained) == len(set(workshop.trained)) == len(workshop.simulated) == 8
    folder = tmp_path / "synthetic"
    table = pd.read_csv(folder / "table3.csv")
    assert table["method"].tolist() == ["quant", "+customization", "+weighted-channel", "chord"]
    assert (table["seeds"] == 2).all() and {"ndcg@10", "ndcg@10_sd", "ndcg@10_paper"} <= set(table)
    assert len(pd.read_csv(folder / "table3_paired.csv")) == 6
    assert set(pd.read_csv(folder / "table3_control.csv")["variant"]) == set(table["method"]) - {"quant"}
    page = (folder / "table3.md").read_text()
    for text in (
        "chord-fl reproduce",
        "abc1234",
        "full catalogue, seen items kept",
        "window 10",
        "seeds 0 to 1",
        "cores",
    ):
        assert text in page
    workshop.forget()
    assert carried_out(request("table3", tmp_path, seeds=2))[0]
    assert not workshop.trained and not workshop.simulated
    pd.testing.assert_frame_equal(pd.read_csv(folder / "table3.csv"), table)


def test_experiments_share_what_they_have_in_common(workshop: Workshop, tmp_path: Path) -> None:
    assert carried_out(request("table6", tmp_path))[0]
    # three checkpoints for five lines: what is deployed lower was trained at 3 bits
    assert len(workshop.trained) == 3 and len(workshop.simulated) == 5
    lines = pd.read_csv(tmp_path / "synthetic" / "table6.csv").set_index(["deployment_bits", "training_bits"])
    assert lines.loc[(2.0, 3.0), "average_bits"] == 2.0 < lines.loc[(2.5, 3.0), "average_bits"] <= 2.5
    workshop.forget()
    assert carried_out(request("table4", tmp_path))[0]
    assert workshop.trained == ["sasrec-chord-2-5-6-7-seed0"]
    workshop.forget()
    assert carried_out(request("table3", tmp_path))[0]
    assert len(workshop.trained) == 3 and len(workshop.simulated) == 3  # the full method is there, from Table 4
    workshop.forget()
    assert carried_out(request("figure5", tmp_path))[0]
    assert not workshop.trained and not workshop.simulated


def test_figures_come_with_their_figures(workshop: Workshop, tmp_path: Path) -> None:
    for name in ("figure3", "figure4", "figure5"):
        assert carried_out(request(name, tmp_path))[0]
    folder = tmp_path / "synthetic"
    for name in ("figure3", "figure4", "figure5"):
        assert (folder / f"{name}.png").stat().st_size > 1000 and (folder / f"{name}.svg").stat().st_size > 1000
    assert len(workshop.simulated) == 5  # figure 4 alone needs devices, for the base as well
    assert set(pd.read_csv(folder / "figure3.csv")["method"]) == {"quant", "adabits", "rfquant", "mbquant", "chord"}
    chord = pd.read_csv(folder / "figure4.csv").query("method == 'chord'")
    assert len(chord) == 4 and chord["average_bits"].is_monotonic_increasing
    layers = pd.read_csv(folder / "figure5_layers.csv")
    assert len(layers) == 5 and layers["share"].sum() == pytest.approx(1)
    bits = pd.read_csv(folder / "figure5_bits.csv")
    assert len(bits) == 16 and bits["mean_bits"].between(2, 8).all()


def test_life_has_a_row_per_rule_and_bytes_of_the_whole_life(workshop: Workshop, tmp_path: Path) -> None:
    assert carried_out(request("life", tmp_path))[0]
    folder = tmp_path / "synthetic"
    assert (folder / "life.png").stat().st_size > 1000 and (folder / "life.svg").stat().st_size > 1000
    table = pd.read_csv(folder / "life.csv")
    assert sorted(workshop.trained) == ["sasrec-chord-sessions10-seed0", "sasrec-full-sessions10-seed0"]
    rules = table[table["method"] == "chord"].set_index("refresh")
    each = rules.loc["once", "adaptation_bytes_per_device"]
    asked = rules["asked"]
    assert asked.is_monotonic_increasing and asked["always"] == 1  # sessions of those who take part
    assert (rules["adaptation_bytes_per_device"] <= 10 * each).all()
    assert rules["ndcg@10"]["always"] == rules["ndcg@10"]["cosine:0"]
    weights = table.set_index("method").loc["static", "adaptation_bytes_per_device"]
    assert weights == 5 * 16 * 16 * 4, "once, however many sessions there are"
    assert set(pd.read_csv(folder / "life_control.csv")["variant"]) == {
        f"chord, refresh {rule}" for rule in rules.index
    }
    assert "last 10 items of each user held out" in (folder / "life.md").read_text()
    assert any(path.name.startswith("sasrec-chord-sessions10-cosine0.1-seed0-") for path in (folder / "runs").iterdir())


def test_figure5_shows_the_plans_that_devices_get(workshop: Workshop, tmp_path: Path) -> None:
    [run] = reproduce.runs_of(experiments.EXPERIMENTS["figure5"], ["sasrec"], [0], make)
    layers, channels = reproduce.plans(run)
    # every user has one most critical layer, so the shares are 60ths; Γ alone would give the same mean to all users
    assert np.allclose(layers["share"] * 60, (layers["share"] * 60).round())
    assert channels["channel"].tolist() == list(range(16)) and (channels["sd_bits"] >= 0).all()
    assert layers["layer"].is_unique and len(layers) == 5


def test_table2_has_overviews(workshop: Workshop, tmp_path: Path) -> None:
    complete, _ = carried_out(request("table2", tmp_path))
    assert complete
    table = pd.read_csv(tmp_path / "synthetic" / "table2.csv")
    assert len(table) == 10 and table["ndcg@10"].notna().all()
    assert len(workshop.trained) == 7  # static and finetune share one; two learn nothing
    for name in ("overview.png", "bytes_and_accuracy.svg"):
        assert (tmp_path / "synthetic" / name).exists()


def test_a_half_finished_folder_is_removed_and_its_run_done_again(workshop: Workshop, tmp_path: Path) -> None:
    asked = request("table4", tmp_path)
    carried_out(asked)
    folders = sorted(path for path in asked.runs.iterdir() if path.is_dir())
    (folders[0] / "summary.json").unlink()
    (folders[0] / "leftover").touch()
    workshop.forget()
    assert carried_out(asked)[0]
    assert len(workshop.simulated) == 1 and not workshop.trained
    assert not (folders[0] / "leftover").exists() and (folders[0] / "summary.json").exists()


@pytest.mark.parametrize("damage", ["rounds", "config", "checkpoint", "json"])
def test_a_run_that_is_not_the_one_asked_for_is_not_done(workshop: Workshop, tmp_path: Path, damage: str) -> None:
    [run] = reproduce.runs_of(experiments.EXPERIMENTS["figure5"], ["sasrec"], [0], make)
    reproduce.simulate(run, tmp_path)
    assert reproduce.is_done(run, tmp_path)
    path = run.folder(tmp_path) / ("config.toml" if damage == "config" else "summary.json")
    text = path.read_text()
    if damage == "config":
        text = text.replace("devices = 60", "devices = 50")
    elif damage == "json":
        text = text[:-20]
    else:
        text = json.dumps(json.loads(text) | {damage: 7 if damage == "rounds" else "/old/version"})
    path.write_text(text)
    assert not reproduce.is_done(run, tmp_path)


def test_a_failed_training_is_noted_and_the_table_has_the_rest(workshop: Workshop, tmp_path: Path) -> None:
    workshop.broken = {"sasrec-chord-filter-seed0"}
    complete, printed = carried_out(request("table3", tmp_path))
    assert not complete
    assert "out of luck" in printed and "missing from table3: sasrec +customization seed 0" in printed
    assert (
        "Missing, because it failed: sasrec +customization seed 0."
        in (tmp_path / "synthetic" / "table3.md").read_text()
    )
    assert len(pd.read_csv(tmp_path / "synthetic" / "table3.csv")) == 3 == len(workshop.simulated)
    workshop.broken = set()
    assert carried_out(request("table3", tmp_path))[0]  # the next call makes up for it
    assert len(pd.read_csv(tmp_path / "synthetic" / "table3.csv")) == 4 == len(workshop.simulated)


def test_a_failed_simulation_is_no_result_and_stops_no_other(workshop: Workshop, tmp_path: Path) -> None:
    workshop.broken = {"quant"}
    complete, printed = carried_out(request("table3", tmp_path))
    assert not complete and "no engine" in printed
    assert "quant" not in pd.read_csv(tmp_path / "synthetic" / "table3.csv")["method"].tolist()


def test_dry_run_says_what_there_is_and_does_nothing(workshop: Workshop, tmp_path: Path) -> None:
    asked = request("table4", tmp_path)
    before = publish.preview(asked)
    assert not workshop.trained and not asked.runs.exists()
    assert sum("to do" in line for line in before) == 4
    carried_out(asked)
    after = publish.preview(asked)
    assert sum("to do" in line for line in after) == 0 and "2 simulations, 2 of them done:" in after


def test_names_of_runs_can_be_read_and_tell_configurations_apart(cache: Path) -> None:
    every = [
        run
        for experiment in experiments.EXPERIMENTS.values()
        for run in reproduce.runs_of(experiment, ["sasrec", "caser"], [0, 1], make)
    ]
    names = {run.name: run.config for run in every}
    assert len(names) == len(set(names.values()))
    assert any(name.startswith("sasrec-chord-limit2.5-seed1-") for name in names)
    assert any(name.startswith("caser-chord-beta0.25-seed0-") for name in names)


def test_runs_published_before_there_were_populations_and_sessions_keep_their_names(
    workshop: Workshop, tmp_path: Path
) -> None:
    case = EXPERIMENTS["table4"].cases[0]
    [run] = [Run(case, resolve(settings=[f"{k}={v}" for k, v in changes(case, "ml-100k", "sasrec", 0).items()]))]
    sections = {"population", "clock", "faults", "life"}
    assert not sections & set(reproduce._essence(run.config)), "what is as it was before is no part of the name"
    lively = Run(case, run.config.model_copy(update={"population": PopulationConfig()}))
    assert lively.name != run.name, "budgets that bind make other figures"
    # and the configuration that they left knows nothing of the sections
    [mine] = [one for one in reproduce.runs_of(EXPERIMENTS["figure5"], ["sasrec"], [0], make)]
    reproduce.simulate(mine, tmp_path)
    path = mine.folder(tmp_path) / "config.toml"
    tree = {key: value for key, value in read_toml(path).items() if key not in sections}
    write_toml(path, tree)
    assert reproduce.is_done(mine, tmp_path)


def test_a_population_file_is_known_by_its_content(tmp_path: Path) -> None:
    names = []
    for folder, score in (("a", 500), ("b", 500), ("c", 600)):
        (tmp_path / folder).mkdir()
        path = tmp_path / folder / "mine.csv"
        path.write_text(f"ram_gb,score,downlink,uplink\n4,{score},1e6,1e6\n")
        case = EXPERIMENTS["table4"].cases[0]
        names.append(Run(case, make({"population.source": str(path)})).name)
    assert names[0] == names[1] != names[2] and "mine.csv" in names[0]


def test_budget_and_time_have_their_tables_and_figures(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("budget", "time"):
        whole = EXPERIMENTS[name]
        short = tuple(replace(case, changes={**case.changes, "simulation.rounds": 2}) for case in whole.cases)
        monkeypatch.setitem(EXPERIMENTS, name, replace(whole, cases=short))
        assert carried_out(request(name, tmp_path, "model.dim=64"))[0]
        table = pd.read_csv(tmp_path / "synthetic" / f"{name}.csv")
        assert table["served"].between(0, 1).all()
        assert (tmp_path / "synthetic" / f"{name}.png").stat().st_size > 1000
    time = pd.read_csv(tmp_path / "synthetic" / "time.csv")
    assert set(time["budgets"]) == {"off", "on"} and (time["served_first"] <= time["served"]).all()
    assert "The paper's Table 6" in (tmp_path / "synthetic" / "budget.md").read_text()
    budget = pd.read_csv(tmp_path / "synthetic" / "budget.csv")
    assert {2.0, 2.5, 3.0} <= set(budget["deployment_bits"])
    tight = budget.query("method == 'chord' and served > 0 and deployment_bits < 3")
    assert (tight["average_bits"] < tight["deployment_bits"] + 0.5).all()


def test_a_baseline_is_the_same_run_under_every_recipe(cache: Path) -> None:
    def name(strategy: str, recipe: str) -> str:
        return Run(Case(strategy, strategy), resolve(recipe=recipe, strategy=strategy)).name

    assert name("quant", "paper") == name("quant", "chord")
    assert name("chord", "paper") != name("chord", "chord")


def test_table1_stands_beside_the_paper(workshop: Workshop, tmp_path: Path) -> None:
    assert carried_out(request("table1", tmp_path))[0]
    table = pd.read_csv(tmp_path / "synthetic" / "table1.csv")
    assert table.loc[0, ["users", "items"]].tolist() == [60, 100] and "users_paper" in table


def test_a_run_is_known_by_what_its_figures_depend_on() -> None:
    (case,) = [case for case in EXPERIMENTS["table2"].cases if case.label == "chord"]
    changed = changes(case, "synthetic", "sasrec", 0)
    names = {
        Run(case, make({**changed, **more})).name
        for more in ({}, {"simulation.workers": 1}, {"simulation.timeout": 9.0}, {"data.data_dir": "/elsewhere"})
    }
    assert len(names) == 1
    assert Run(case, make({**changed, "simulation.seen": "exclude"})).name not in names
