"""`chord-fl new strategy`: what it writes runs, and nothing is overwritten."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from chord_fl.errors import ConfigError
from simulations.cli import app
from simulations.new_cli import strategy


def test_what_it_writes_passes_its_own_tests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["new", "strategy", "my_plans"])
    assert result.exit_code == 0 and "chord-fl compare --strategies chord,my_plans:MyPlans " in result.output
    assert {path.name for path in tmp_path.iterdir()} == {"my_plans.py", "test_my_plans.py"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_my_plans.py"]
    tested = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert tested.returncode == 0 and "3 passed" in tested.stdout, tested.stdout
    with pytest.raises(ConfigError, match=r"^my_plans.py exists already"):
        strategy("my_plans", Path("."))


@pytest.mark.parametrize("name", ["class", "my-plans", "3d", "", "_", "a.b", "../x", "numpy", "random", "strategies"])
def test_a_name_that_no_module_can_have_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="NAME = "):
        strategy(name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"--out .*file: cannot be written"):
        strategy("my_plans", tmp_path / "file")
    strategy("my_plans", tmp_path / "new" / "folder")
    assert (tmp_path / "new" / "folder" / "test_my_plans.py").is_file()
