import subprocess
import sys

from chord_fl.report.paper import table
from chord_fl.report.param import param_table


def test_param_agrees_with_all_48_figures_of_table_2() -> None:
    frame = param_table()
    assert list(frame) == ["backbone", "method", "dataset", "param_mbit", "paper"]
    assert len(frame) == len(frame.drop_duplicates(["backbone", "method", "dataset"])) == 48
    assert list(frame["param_mbit"].round(4)) == list(frame["paper"])
    theirs = table("table2").rename(columns={"param_mbit": "printed"})
    both = frame.merge(theirs, on=["backbone", "method", "dataset"], validate="one_to_one")
    assert list(both["paper"]) == list(both["printed"])


def test_arithmetic_does_not_wait_for_torch() -> None:
    code = "import sys; from simulations.cli import app; from chord_fl.report import param; print(sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not [name for name in ("'torch'", "'flwr'", "'ray'") if name in loaded]
