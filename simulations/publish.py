"""From what the user asked for to the files of tables and figures: CSV, Markdown, PNG and SVG, with notes on how."""

import os
import platform
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from chord_fl.config import Config
from chord_fl.data import dataset as data_sets
from chord_fl.errors import ChordError
from chord_fl.report import budgets, figures, life, paper, served
from chord_fl.report.labels import proper
from chord_fl.report.paired import control_tests, paired_tests, user_intervals
from chord_fl.report.param import param_table
from chord_fl.report.personalisation import by_window, windows
from chord_fl.report.tables import FIGURES, beside_paper, summarise, write_table
from simulations import prepare, reproduce
from simulations.experiments import DEADLINE, EXPERIMENTS, STATISTICS, Experiment, named
from simulations.pool import duration
from simulations.reproduce import Make, Run, carry_out, describe, runs_of, todo

_HOME = Path(__file__).parents[1]


@dataclass(frozen=True)
class Request:
    """What the command line asks for."""

    what: str
    backbones: tuple[str, ...]
    seeds: int
    out: Path
    jobs: int
    make: Make
    asked: tuple[str, ...]  # keys that the user set with --set
    dataset: str | None  # the one that the user named
    command: str
    started: float  # time.time()
    commit: str  # of the code, when it started

    @property
    def folder(self) -> Path:
        """Where the results of its data set go."""
        return self.out / self.make({}).data.name

    @property
    def runs(self) -> Path:
        """Where the simulations of its data set are."""
        return self.folder / "runs"

    def experiments(self) -> dict[str, tuple[Experiment, list[Run]]]:
        """The experiments asked for that train or simulate, with their runs."""
        chosen = [EXPERIMENTS[name] for name in named(self.what) if name in EXPERIMENTS]
        seeds = range(self.seeds)
        return {one.name: (one, runs_of(one, self.backbones, seeds, self.make, self.asked)) for one in chosen}


def preview(request: Request) -> list[str]:
    """What `publish` would do, a line each."""
    experiments = request.experiments()
    return describe(todo(experiments, request.runs)) if experiments else ["Nothing to train or to simulate."]


def publish(request: Request, out: Console, err: Console, verbose: bool = False) -> bool:
    """Train, simulate, and write every table and figure asked for; False if something is missing from them.

    Raises ChordError, before any work, for what cannot work at all.
    """
    names, experiments = named(request.what), request.experiments()
    written: list[Path] = []
    missing: list[str] = []
    failures: dict[str, str] = {}
    every = [run for _, mine in experiments.values() for run in mine]
    if every:
        prepare.check(every[0].config)
    prepare.make_folder(request.out)
    if "param" in names:
        notes = ["From arithmetic alone: no run, no training.", *_provenance(request)]
        written += write_table(param_table(), request.out, "param", "Param, Mbit", notes)
    if "table1" in names:
        written += _table1(request)
    if experiments:
        request.runs.mkdir(parents=True, exist_ok=True)
        plan = todo(experiments, request.runs)
        to_train = sum(not reproduce.is_finished(training) for training in plan.trainings)
        err.print(f"{to_train} models to train, {len(plan.missing)} of {len(plan.simulations)} simulations to run")
        failures = carry_out(plan, request.runs, request.jobs, err, verbose)
        for experiment, mine in experiments.values():
            there = [run for run in mine if _has_figures(experiment, run, request.runs)]
            lacking = [f"{run.backbone} {_label(run)} seed {run.config.seed}" for run in mine if run not in there]
            missing += [f"{experiment.name}: {what}" for what in lacking]
            if there:
                notes = [*experiment.notes, *_notes(request, experiment, mine, lacking)]
                written += _write(request, experiment, there, notes)
    for path in written:
        # the tests over users are for reading on their own
        if path.suffix == ".md" and (path.stem in names or path.stem == "figure5_layers"):
            out.print(path.read_text(encoding="utf-8"), markup=False, soft_wrap=True)
    out.print("Written: " + ", ".join(str(path) for path in written), markup=False, soft_wrap=True)
    for name, reason in failures.items():
        err.print(f"failed: {name}: {reason}", style="red", markup=False, soft_wrap=True)
    for what in missing:
        err.print(f"missing from {what}", style="red", markup=False, soft_wrap=True)
    return not missing


def _has_figures(experiment: Experiment, run: Run, runs: Path) -> bool:
    return reproduce.is_done(run, runs) if experiment.simulates else reproduce.is_trained(run)


def _write(request: Request, experiment: Experiment, there: list[Run], notes: list[str]) -> list[Path]:
    """The files of one experiment."""
    note = f"{_seeds(request)}, seen items {_seen(there[0].config)}"
    if experiment.source == "curves":
        return _figure3(request.folder, experiment, there, notes, note)
    if experiment.source == "plans":
        return _figure5(request.folder, experiment, there, notes, note)
    frame = reproduce.collect(there, request.runs)
    if experiment.source == "budgets":
        return _budget(request.folder, experiment, frame, notes, note)
    if experiment.source == "clocks":
        return _time(request.folder, experiment, frame, notes, note)
    if experiment.source == "lives":
        sessions = reproduce.by_session(there, request.runs)
        return _life(request.folder, experiment, frame, sessions, notes, note)
    return _table(request.folder, experiment, frame, notes, note)


def _life(
    folder: Path, experiment: Experiment, frame: pd.DataFrame, sessions: pd.DataFrame, notes: list[str], note: str
) -> list[Path]:
    summary = summarise(frame.drop(columns="rounds"), ["dataset", *experiment.by], (*FIGURES, *life.FIGURES))
    written = write_table(summary, folder, experiment.name, experiment.title, notes)
    return written + _tests(folder, experiment, frame, notes) + life.figure(summary, sessions, folder, note)


def _table(folder: Path, experiment: Experiment, frame: pd.DataFrame, notes: list[str], note: str) -> list[Path]:
    name, by = experiment.name, ["dataset", *experiment.by]
    summary = summarise(frame, by)
    if name in paper.TABLES:
        summary = beside_paper(summary, paper.table(name), by)
    if name == "peer":
        notes = [*_verdicts(summary), *notes]
    written = write_table(summary, folder, name, experiment.title, notes) + _tests(folder, experiment, frame, notes)
    if name == "figure4":
        base = frame["method"] == "static"
        written += figures.figure4(frame[~base], folder, note, frame[base])
    if name == "windows":
        searched = folder / "ceiling.csv"  # of benchmarks/ceiling.py, where it is there
        written += windows(frame, folder, note, pd.read_csv(searched) if searched.exists() else None)
    if name == "table2":
        keys = ["dataset", "backbone", "method"]
        shown = [*keys, "ndcg@10_paper", "ndcg@10_stranger", "adaptation_bytes_per_device"]
        points = user_intervals(frame, keys).merge(summary[shown], on=keys)
        written += figures.overview(points, folder, note) + figures.bytes_and_accuracy(points, folder, note)
    return written


def _tests(folder: Path, experiment: Experiment, frame: pd.DataFrame, notes: list[str]) -> list[Path]:
    """What is tested over users: pairs of cases, and own plans against strangers'."""
    name, written, within = experiment.name, [], ["dataset", "backbone"]
    if name == "windows":  # nobody asks whether one window is better than another
        runs = by_window(frame)
        tests = paired_tests(runs, [*within, "windows"])
        controls = control_tests(runs[runs["method"] == "chord"], within, "windows")
    else:
        variants = [key for key in experiment.by if key != "backbone"]
        runs = frame.assign(variant=[_variant(row, variants) for row in frame[variants].to_dict("records")])
        tests = paired_tests(runs, within, "variant") if experiment.compares else runs[:0]
        controls = control_tests(runs, within, "variant")
    if len(tests):
        title = f"{experiment.title}: pairs, NDCG@10 paired over users"
        written += write_table(tests, folder, f"{name}_paired", title, notes)
    if len(controls):
        title = f"{experiment.title}: own plan against a stranger's, NDCG@10"
        written += write_table(controls, folder, f"{name}_control", title, notes)
    return written


def _budget(folder: Path, experiment: Experiment, frame: pd.DataFrame, notes: list[str], note: str) -> list[Path]:
    lines = budgets.by_budget(frame)
    by, notes = ["dataset", *experiment.by], [*notes[:1], _table6(), *notes[1:]]
    summary = beside_paper(summarise(lines, by), paper.table("table6"), by)
    written = write_table(summary, folder, experiment.name, experiment.title, notes)
    paired = budgets.steps(frame)
    title = "What a smaller budget costs the same users: NDCG@10 minus that at 3 bits"
    written += write_table(paired, folder, f"{experiment.name}_paired", title, notes)
    return written + budgets.figure(lines, folder, note)


def _table6() -> str:
    """The lines of the paper's Table 6 that belong beside it: of other data sets, since it has no other."""
    theirs = paper.table("table6").query("training_bits == 3").sort_values("deployment_bits", ascending=False)
    parts = []
    for name, rows in theirs.groupby("dataset", sort=False):
        figures_ = ", ".join(f"{value:.4f}" for value in rows["ndcg@10"])
        bits = ", ".join(f"{value:g}" for value in rows["deployment_bits"])
        parts.append(f"{proper(str(name))} {figures_} NDCG@10 at {bits} bits")
    return f"The paper's Table 6, trained at 3 bits (Caser; it has no ML-100K): {'; '.join(parts)}."


def _time(folder: Path, experiment: Experiment, frame: pd.DataFrame, notes: list[str], note: str) -> list[Path]:
    summary = summarise(served.times(frame), ["dataset", *experiment.by])
    written = write_table(summary, folder, experiment.name, experiment.title, notes)
    keys = ["dataset", *experiment.by, "seed"]
    parts = [served.curve(run["folder"]).assign(**{key: run[key] for key in keys}) for run in frame.to_dict("records")]
    note += f"; who takes more than {DEADLINE:g} s has a result in the next round, a minute later"
    return written + served.figure(pd.concat(parts, ignore_index=True), folder, note)


def _verdicts(summary: pd.DataFrame) -> list[str]:
    """Whether full precision is at least as good as its peer, within two standard errors over seeds."""
    lines = []
    for row in summary.to_dict("records"):
        if "ndcg@10_paper" not in row or row["ndcg@10_paper"] != row["ndcg@10_paper"]:
            return ["There are no figures of RecBole for this data set: nothing to compare with."]
        error = row["ndcg@10_sd"] / row["seeds"] ** 0.5
        where = f"{row['backbone']}, seen items {'kept' if row['seen'] == 'keep' else 'excluded'}"
        gap = row["ndcg@10"] - row["ndcg@10_paper"]
        verdict = "cannot be told from one seed"
        if error == error:
            verdict = "at least as good within two standard errors" if gap >= -2 * error else "worse"
        lines.append(f"{where}: {gap:+.4f} ± {error:.4f} (standard error over seeds) in NDCG@10: {verdict}.")
    return lines


def _figure3(folder: Path, experiment: Experiment, there: list[Run], notes: list[str], note: str) -> list[Path]:
    curves = reproduce.curves(there)
    best = curves.loc[curves.groupby(["dataset", "backbone", "method", "seed"], sort=False)["ndcg@10"].idxmax()]
    shown = best[["dataset", "backbone", "method", "seed", "epoch", "ndcg@10", "hr@10"]]
    epochs = curves.groupby(["dataset", "backbone", "method", "seed"], sort=False)["epoch"].max()
    shown = shown.assign(epochs=epochs.to_numpy())
    written = write_table(shown, folder, "figure3", experiment.title, notes)
    curves.to_csv(folder / "figure3.csv", index=False)
    return written + figures.figure3(curves, folder, note)


def _figure5(folder: Path, experiment: Experiment, there: list[Run], notes: list[str], note: str) -> list[Path]:
    parts = [reproduce.plans(run) for run in there]
    layers, channels = (pd.concat(part, ignore_index=True) for part in zip(*parts, strict=True))
    keys = ["dataset", "backbone", "seed"]
    layers, channels = layers[[*keys, "layer", "share"]], channels[[*keys, "channel", "mean_bits", "sd_bits"]]
    written = write_table(
        layers,
        folder,
        "figure5_layers",
        f"{experiment.title}: share of users to whom each layer is the most critical",
        notes,
    )
    written += write_table(
        channels, folder, "figure5_bits", f"{experiment.title}: bits per channel of layer 0 over users", notes
    )
    return written + figures.figure5(layers, channels, folder, note)


def _table1(request: Request) -> list[Path]:
    """Statistics of the data set that the user named, or of those at hand."""
    rows, notes = [], []
    for name in [request.dataset] if request.dataset else STATISTICS:
        try:
            data = request.make({"data.name": name}).data
            found = data_sets.statistics(data_sets.load(data))
        except ChordError as error:
            if request.dataset:
                raise
            notes.append(f"Not at hand: {name} ({error}).")
            continue
        counts = {"users": found.users, "items": found.items, "interactions": found.interactions}
        rows.append({"dataset": name, **counts, "density_percent": 100 * found.density})
    if not rows:
        return []
    table = pd.DataFrame(rows)
    # a synthetic population with the paper's numbers stands beside the data set that it imitates
    table = table.assign(_twin=table["dataset"].replace({"cd-like": "amazon-cd", "yelp-like": "yelp"}))
    theirs = paper.table("table1").rename(columns={"dataset": "_twin"})
    table = table.merge(theirs, how="left", on="_twin", suffixes=("", "_paper")).drop(columns="_twin")
    if table["dataset"].str.endswith("-like").any():
        notes.append("cd-like and yelp-like are synthetic populations, beside the data sets that they imitate.")
    notes += _provenance(request)
    folder = request.folder if request.dataset else request.out
    return write_table(table, folder, "table1", "Table 1: data sets", notes)


def _notes(request: Request, experiment: Experiment, mine: Sequence[Run], lacking: Sequence[str]) -> list[str]:
    """How a table came about: what stands beneath it."""
    config = mine[0].config
    windows = dict.fromkeys(f"{run.config.model.window} ({run.backbone})" for run in mine)
    seen = " or ".join(dict.fromkeys(_seen(run.config) for run in mine))
    ranked = f"{config.simulation.candidates} candidates" if config.simulation.candidates else "the full catalogue"
    sessions = config.life.sessions
    held_out = "last item" if sessions == 1 else f"last {sessions} items"
    protocol = (
        f"Protocol: {held_out} of each user held out, ranked in {ranked}, seen items {seen}; "
        f"window {', '.join(windows)}; trained on at most {config.train.train_users:,} users for at most "
        f"{config.train.epochs} epochs, the best on validation; "
        f"{_seeds(request)}."
    )
    spread = []
    if experiment.simulates:
        several = request.seeds > 1
        spread = ["± is the standard deviation over seeds." if several else "One seed: its spread is unknown."]
    gaps = [f"Missing, because it failed: {', '.join(lacking)}."] if lacking else []
    return [*gaps, protocol, *spread, *_provenance(request), _effort(experiment, mine, request.runs)]


def _seeds(request: Request) -> str:
    return "seed 0" if request.seeds == 1 else f"seeds 0 to {request.seeds - 1}"


def _provenance(request: Request) -> list[str]:
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(request.started))
    return [
        f"Command: `{request.command}`",
        f"Commit {request.commit or 'unknown'}, {when}; {os.cpu_count()} cores, {platform.machine()}.",
        f"This call took {duration(time.time() - request.started)}, what it reused not counted.",
    ]


def _effort(experiment: Experiment, mine: Sequence[Run], runs: Path) -> str:
    """What the figures cost, whenever that was: epochs of one thread each, without start-up; and simulation."""
    trained = {run.checkpoint for run in mine if run.learns and reproduce.is_trained(run)}
    training = sum(reproduce.training_seconds(folder) for folder in trained)
    effort = f"All in all: {len(trained)} trainings, {duration(training)} of one thread"
    if not experiment.simulates:
        return f"{effort}."
    simulated = {run.name: run for run in mine if reproduce.is_done(run, runs)}
    simulating = sum(float(reproduce.summary_of(run, runs)["wall_seconds"]) for run in simulated.values())
    return f"{effort}; {len(simulated)} simulations, {duration(simulating)}."


def commit() -> str:
    """The checked-out commit of this code, marked if files differ from it; empty outside a checkout."""
    if not (_HOME / ".git").exists():
        return ""
    git = ["git", "--no-optional-locks", "-C", str(_HOME)]
    try:
        head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, timeout=30)
        status = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return head.stdout.strip() + (" (dirty)" if status.stdout.strip() else "")


def _seen(config: Config) -> str:
    return "kept" if config.simulation.seen == "keep" else "excluded"


def _label(run: Run) -> str:
    return _variant({"method": run.case.label, **run.case.columns}, ["method", *run.case.columns])


def _variant(row: dict[Any, Any], keys: Sequence[str]) -> str:
    """What tells a row from the others of its table, in words."""
    if len(keys) == 1:
        return str(row[keys[0]])
    given = [key for key in keys if row[key] == row[key]]  # a method without the variant's key has NaN there
    words = {key: f"{row[key]:g}" if isinstance(row[key], float) else str(row[key]) for key in given}
    return ", ".join(word if key == "method" else f"{key.replace('_', ' ')} {word}" for key, word in words.items())
