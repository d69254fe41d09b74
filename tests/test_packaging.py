"""What is shipped: the wheel holds every file of the packages, works outside the checkout, and says who it is."""

import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from email.parser import Parser
from pathlib import Path

import pandas as pd
import pytest
import yaml

ROOT = Path(__file__).parents[1]
PACKAGES = ("chord_fl", "strategies", "simulations")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source distribution, and the wheel that was built from it."""
    checkout = tmp_path_factory.mktemp("source") / "checkout"
    ours = (*PACKAGES, "docs", "notebooks", "tests")  # building writes into the folder that it builds
    for name in ours:
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, checkout)
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(checkout)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return out


def files(package: str) -> set[str]:
    paths = (ROOT / package).rglob("*")
    return {str(path.relative_to(ROOT)) for path in paths if path.is_file() and "__pycache__" not in path.parts}


def test_the_wheel_holds_every_file_of_the_packages_and_nothing_else(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == set().union(*map(files, PACKAGES))
    assert {f"{package}/py.typed" for package in PACKAGES} < names


def test_the_source_distribution_holds_what_documents_and_checks_it(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names >= {"LICENSE", "CITATION.cff", "CHANGELOG.md", "Makefile", "docs/round.svg", "tests/inprocess.py"}


def test_the_metadata_say_what_it_is(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    archive = zipfile.ZipFile(wheel)
    (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
    metadata = Parser().parsestr(archive.read(name).decode())
    assert metadata["Version"] == PROJECT["version"]
    assert (metadata["License-Expression"], metadata.get_all("License-File")) == ("Apache-2.0", ["LICENSE"])
    assert metadata["Description-Content-Type"] == "text/markdown" and "# chord-fl" in str(metadata.get_payload())


def test_one_version_in_citation_and_changelog() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["version"], citation["license"]) == (PROJECT["version"], PROJECT["license"])
    assert f"\n## [{PROJECT['version']}] - " in (ROOT / "CHANGELOG.md").read_text()


# --- in an empty environment, outside the checkout -------------------------------------------------------------------


@pytest.fixture(scope="module")
def environment(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The programs of an environment with the wheel and what it asks for, and nothing else. About 2 GB."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    (wheel,) = built.glob("*.whl")
    install = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", str(wheel)]
    result = subprocess.run(install, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    yield folder / "bin"
    shutil.rmtree(folder)


@pytest.mark.slow
def test_the_wheel_works_in_an_empty_environment(environment: Path, tmp_path: Path) -> None:
    home = {"PATH": f"{environment}:/usr/bin:/bin", "HOME": str(tmp_path / "home"), "COLUMNS": "120"}
    here = tmp_path / "here"
    here.mkdir()

    def run(program: str, *arguments: str) -> str:
        command = [str(environment / program), *arguments]
        result = subprocess.run(command, capture_output=True, text=True, cwd=here, env=home, timeout=600)
        assert result.returncode == 0, result.stderr
        return result.stdout

    where = "import chord_fl, simulations.run, strategies; print(chord_fl.__version__, chord_fl.__file__)"
    version, path = run("python", "-c", where).split()
    assert version == PROJECT["version"] and Path(path).is_relative_to(environment.parent)
    assert "simulate" in run("chord-fl", "--help")
    assert PROJECT["version"] in run("chord-fl", "--version")
    run("python", "-m", "pip", "check")  # fails where a requirement is missing or does not fit
    assert len(run("chord-fl", "reproduce", "param").splitlines()) == 49  # the paper's tables are in the wheel
    sizes = ["--devices", "60", "--items", "100", "--train-users", "40", "--epochs", "1", "--rounds", "1"]
    presets = ["--preset", "thousands", "--recipe", "paper"]  # files of the wheel too
    run("chord-fl", "simulate", *presets, *sizes, "--blocks", "1", "--workers", "1", "--out", "run")
    assert len(pd.read_parquet(here / "run" / "devices.parquet")) == 60
    # a strategy of one's own, from the file that the command writes, beside CHORD and one of Flower's; and the report
    assert "pip install pytest" in run("chord-fl", "new", "strategy", "mine")
    every = ["--strategies", "chord,mine:Mine,flwr.serverapp.strategy:FedAvg", "--out", "all", "--no-constrain"]
    run("chord-fl", "compare", *every, *presets, *sizes, "--blocks", "1", "--workers", "1")
    assert "Report of 3 runs" in run("chord-fl", "report", "all", "--out", "report.html")
    assert "Mine" in (here / "report.html").read_text(encoding="utf-8")
