"""What is refused before any work, and when a checkpoint is trained, taken up or used as it is."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from chord_fl.config import Config
from chord_fl.errors import CheckpointError, ChordError, ConfigError
from chord_fl.trees import read_toml
from simulations import prepare
from simulations.prepare import Progress
from strategies import STRATEGIES
from strategies.loading import load
from tests.inprocess import DEVICES, ITEMS, small

Make = Callable[..., Config]


class Watch:
    """Notes what training reports."""

    def __init__(self, stop_after: int = 10**9) -> None:
        self.starts: list[tuple[Path, bool]] = []
        self.epochs: list[int] = []
        self.batches = 0
        self._stop_after = stop_after

    @property
    def progress(self) -> Progress:
        return Progress(lambda folder, resumes: self.starts.append((folder, resumes)), self._epoch, self._batch)

    def _epoch(self, epoch: Any) -> None:
        self.epochs.append(epoch.epoch)
        if len(self.epochs) == self._stop_after:
            raise KeyboardInterrupt

    def _batch(self, *_: int) -> None:
        self.batches += 1


def same(one: prepare.Trained, other: prepare.Trained) -> bool:
    first, second = one.model.state_dict(), other.model.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


# --- check -----------------------------------------------------------------------------------------------------------


def test_check_returns_the_data_set(config: Make) -> None:
    found = prepare.check(config())
    assert (found.users, found.items) == (DEVICES, ITEMS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"strategy": "magic"},
            f"strategy = 'magic': unknown; allowed: {', '.join(STRATEGIES)}, or MODULE:CLASS, yours or Flower's",
        ),
        (
            {"data__items": 50, "simulation__candidates": 50},
            "simulation.candidates = 50: the catalogue has only 50 items",
        ),
        (
            {"simulation__devices_per_node": DEVICES + 1},
            f"simulation.devices_per_node = {DEVICES + 1}: there are only {DEVICES} devices",
        ),
        (
            {"train__device": "cuda:1"},
            "train.device = 'cuda:1': no such device here; allowed: cpu",
        ),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(
    config: Make, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], message: str
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(ConfigError) as caught:
        prepare.check(config(**changes))
    assert str(caught.value) == message


def test_the_limits_themselves_are_allowed(config: Make) -> None:
    prepare.check(config(data__items=50, simulation__candidates=49, simulation__devices_per_node=DEVICES))


def test_data_that_are_not_there_are_refused_too(config: Make, tmp_path: Path) -> None:
    with pytest.raises(ChordError, match="nowhere.csv"):
        prepare.check(config(data__name="csv", data__path=str(tmp_path / "nowhere.csv"), data__devices=None))


# --- make_folder -----------------------------------------------------------------------------------------------------


def test_a_folder_is_made_with_its_parents_and_left_empty(tmp_path: Path) -> None:
    folder = prepare.make_folder(tmp_path / "a" / "b")
    assert folder.is_dir() and not list(folder.iterdir())
    assert prepare.make_folder(folder) == folder, "an empty folder may be there already"


@pytest.mark.parametrize("below", ["", "run", "deep/run"])
def test_a_file_in_the_way_of_a_folder(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("precious")
    with pytest.raises(ConfigError, match=r"^--out .*: cannot be written \(.+\)$"):
        prepare.make_folder(tmp_path / "file" / below)
    assert (tmp_path / "file").read_text() == "precious"


def test_a_folder_with_another_run_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text("{}")
    with pytest.raises(ConfigError, match="holds the results of another run; choose another folder"):
        prepare.make_folder(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["summary.json"]


# --- checkpoints -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["chord", "full"])
def test_a_checkpoint_is_trained_once(tmp_path: Path, method: str) -> None:
    first, second = Watch(), Watch()
    config = small(tmp_path)
    assert not prepare.is_trained(config, method)
    trained = prepare.trained(config, method, first.progress)
    assert first.starts == [(tmp_path / method, False)] and first.epochs == [1, 2] and first.batches > 0
    assert prepare.is_trained(config, method)
    again = prepare.trained(config, method, second.progress)
    assert not second.starts and not second.epochs and not second.batches
    assert same(trained, again) and not trained.model.training


def test_an_interrupted_training_goes_on_to_the_same_model(tmp_path: Path) -> None:
    interrupted, resumed = Watch(stop_after=1), Watch()
    with pytest.raises(KeyboardInterrupt):
        prepare.trained(small(tmp_path / "a", train__epochs=3), "chord", interrupted.progress)
    assert not prepare.is_trained(small(tmp_path / "a", train__epochs=3), "chord")
    trained = prepare.trained(small(tmp_path / "a", train__epochs=3), "chord", resumed.progress)
    assert resumed.starts == [(tmp_path / "a" / "chord", True)] and resumed.epochs == [2, 3]
    assert same(trained, prepare.trained(small(tmp_path / "b", train__epochs=3), "chord"))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"train__epochs": 3}, "train.epochs is 2 there, 3 here"),
        ({"model__window": 6}, "model.window is 5 there, 6 here"),
        ({"seed": 1}, "seed is 0 there, 1 here"),
        ({"data__items": 300}, "data.items is 200 there, 300 here"),
    ],
)
def test_a_checkpoint_of_another_configuration_is_refused(
    config: Make, checkpoint: Path, changes: dict[str, Any], named: str
) -> None:
    prepare.trained(config(), "full")
    watch = Watch()
    with pytest.raises(CheckpointError, match="is of another configuration: " + named):
        prepare.trained(config(**changes), "full", watch.progress)
    assert not watch.starts
    with pytest.raises(CheckpointError, match="method is 'full' there, 'chord' here"):
        prepare.trained(small(checkpoint / "full"), "chord")


def test_a_checkpoint_does_not_depend_on_how_many_devices_are_simulated(tmp_path: Path) -> None:
    watch = Watch()
    few = prepare.trained(small(tmp_path / "few", data__devices=7), "chord")
    many = prepare.trained(small(tmp_path / "many", data__devices=500), "chord")
    assert same(few, many)
    reused = prepare.trained(small(tmp_path / "few", data__devices=None), "chord", watch.progress)
    assert same(few, reused) and not watch.starts


def test_what_only_the_simulation_uses_does_not_matter_to_a_checkpoint(config: Make) -> None:
    prepare.trained(config(), "full")
    watch = Watch()
    changes = {"simulation__rounds": 7, "simulation__seen": "exclude", "static__bits": 3, "finetune__steps": 9}
    prepare.trained(config(**changes, model__ladder="2-5-6-7", train__temperature=0.5), "full", watch.progress)
    assert not watch.starts


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    file = prepare.trained(small(tmp_path), "full").folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="damaged"):
        prepare.trained(small(tmp_path), "full")


def test_where_checkpoints_live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    config = small(tmp_path / "given")
    assert prepare.checkpoint_folder(config, "chord") == tmp_path / "given" / "chord"
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "config.toml").touch()
    assert prepare.checkpoint_folder(config, "chord") == tmp_path / "given"
    assert prepare.checkpoint_folder(small(Path("~/mine")), "full") == tmp_path / "mine" / "full"
    unset = small(tmp_path, train__checkpoint=None)
    folder = prepare.checkpoint_folder(unset, "full")
    assert folder.parent == tmp_path / "cache" / "chord-fl" / "checkpoints"
    assert folder.name.startswith("synthetic-full-")
    others = [small(tmp_path, train__checkpoint=None, **change) for change in ({"seed": 1}, {"model__dim": 8})]
    assert len({prepare.checkpoint_folder(c, m) for c in (unset, *others) for m in ("full", "chord")}) == 6


# --- strategy --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_strategy_has_its_shipment_and_settings_on_disk(config: Make, tmp_path: Path, name: str) -> None:
    settings = config(strategy=name)
    model = prepare.trained(settings, load(name).method)
    made = prepare.strategy(settings, model, DEVICES, tmp_path, 4)
    assert type(made) is load(name)
    content = (tmp_path / "shipment.safetensors").read_bytes()
    assert made.shipment.path.is_absolute() and made.shipment.payload == content
    assert made.shipment.sha256 == hashlib.sha256(content).hexdigest()
    assert 0 <= made.shipment.matrix_bytes < len(content) and (made.shipment.matrix_bytes == 0) == (name == "chord")
    assert Config.model_validate(read_toml(tmp_path / "config.toml")) == settings
    assert made.record.devices == DEVICES


def test_a_relative_folder_becomes_an_address_that_workers_find(
    config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = config(strategy="static")
    made = prepare.strategy(settings, prepare.trained(settings, "full"), DEVICES, prepare.make_folder(Path("run")), 4)
    assert made.shipment.path == tmp_path / "run" / "shipment.safetensors"
