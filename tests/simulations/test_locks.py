import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from chord_fl.config import Config
from chord_fl.errors import CheckpointError
from simulations import prepare
from simulations.locks import is_locked, lock
from simulations.prepare import Progress

HOLD = "import sys, time; from pathlib import Path; from simulations.locks import lock\n"
HOLD += "with lock(Path(sys.argv[1])):\n    print('held', flush=True); time.sleep(float(sys.argv[2]))"


def holder(folder: Path, seconds: float) -> subprocess.Popen[str]:
    """A process that has the lock of `folder` for some time."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), str(seconds)], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def test_who_waits_says_for_whom(tmp_path: Path) -> None:
    process, waited = holder(tmp_path / "a", 1.0), []
    assert is_locked(tmp_path / "a") and not is_locked(tmp_path / "b")
    with lock(tmp_path / "a", waited.append):
        assert process.wait() == 0
    assert waited == [str(process.pid)]
    with lock(tmp_path / "a", waited.append):
        assert len(waited) == 1  # nobody to wait for any more


def test_a_holder_that_is_killed_leaves_nothing_behind(tmp_path: Path) -> None:
    process = holder(tmp_path / "a", 60.0)
    process.kill()
    process.wait()
    for _ in range(100):
        if not is_locked(tmp_path / "a"):
            return
        time.sleep(0.05)
    pytest.fail("still locked")


def test_a_model_is_trained_once_however_many_want_it(config: object, tmp_path: Path) -> None:
    settings: Config = config(train__checkpoint=str(tmp_path / "own"))  # type: ignore[operator]
    folder = prepare.checkpoint_folder(settings, "full")
    process, waited = holder(folder, 1.0), []
    epochs: list[int] = []
    watching = Progress(on_epoch=lambda epoch: epochs.append(epoch.epoch), on_wait=waited.append)
    first = prepare.trained(settings, "full", watching)
    assert process.wait() == 0 and waited == [str(process.pid)] and epochs == [1, 2]
    second = prepare.trained(settings, "full", watching)
    assert second.folder == first.folder and epochs == [1, 2]


TRAIN = "import sys; from chord_fl.config import Config; from simulations import prepare\n"
TRAIN += "def on_start(folder, resumes):\n    print('began', flush=True); input()\n"  # until somebody waits
TRAIN += "prepare.trained(Config.model_validate_json(sys.argv[1]), 'full', prepare.Progress(on_start))"


def test_who_waited_finds_the_model_trained(config: object, tmp_path: Path) -> None:
    settings: Config = config(train__checkpoint=str(tmp_path / "own"))  # type: ignore[operator]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", TRAIN, settings.model_dump_json()]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) as process:
        assert process.stdin is not None and process.stdout is not None and process.stdout.readline() == "began\n"
        go, epochs, waited = process.stdin, list[int](), list[str]()

        def on_wait(holder: str) -> None:
            waited.append(holder)
            go.write("\n")
            go.flush()

        prepare.trained(settings, "full", Progress(on_epoch=lambda epoch: epochs.append(epoch.epoch), on_wait=on_wait))
        assert waited == [str(process.pid)] and not epochs
    assert process.returncode == 0


def test_a_place_without_room_for_a_lock_is_named(config: object, tmp_path: Path) -> None:
    settings: Config = config(train__checkpoint=str(tmp_path / "own"))  # type: ignore[operator]
    (tmp_path / "own" / "full.lock").mkdir(parents=True)
    with pytest.raises(CheckpointError, match="own/full cannot be written"):
        prepare.trained(settings, "full")
