import sys
import tempfile
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
EVERYDAY = ("quickstart",)  # each run of a notebook starts Ray: the others are for the slow suite
EXECUTED = [
    pytest.param(path, id=path.stem, marks=[] if path.stem in EVERYDAY else [pytest.mark.slow]) for path in NOTEBOOKS
]


def figures(notebook: nbformat.NotebookNode) -> int:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return sum("image/png" in output.get("data", {}) for output in outputs)


def texts(notebook: nbformat.NotebookNode) -> str:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    printed = [str(output.get("text", "")) for output in outputs]
    return "\n".join(printed + [str(output.get("data", {}).get("text/plain", "")) for output in outputs])


def test_the_notebooks_are_there() -> None:
    assert {path.stem for path in NOTEBOOKS} >= {
        "quickstart",
        "compare_baselines",
        "write_a_strategy",
        "devices_over_time",
    }


@pytest.mark.parametrize("path", EXECUTED)
def test_it_runs_in_a_folder_of_its_own_and_makes_a_figure(path: Path, tmp_path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []  # those that are committed must not pass for new ones
    NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    assert figures(notebook) >= 1
    assert not list(tmp_path.iterdir()), "it left files behind"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_committed_with_outputs_and_without_machine_paths(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    assert figures(notebook) >= 1
    here = (str(Path.home()), tempfile.gettempdir(), sys.prefix)
    found = [start for start in (*here, "/home/", "/tmp/", "/Users/", "C:\\", "/usr/") if start in texts(notebook)]
    assert not found
