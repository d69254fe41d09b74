"""Importing the method is cheap and starts nothing: neither Flower nor Ray is loaded by any module of `chord_fl`."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

EVERY_MODULE = """
import importlib, pkgutil, sys
import chord_fl
for module in pkgutil.walk_packages(chord_fl.__path__, "chord_fl."):
    importlib.import_module(module.name)
print(len([name for name in sys.modules if name.startswith("chord_fl.")]))
print([name for name in ("flwr", "ray", "simulations", "strategies") if name in sys.modules])
"""
THE_COMMAND = """
import sys
import simulations.cli
print(0)
print([name for name in ("flwr", "ray", "torch", "pandas") if name in sys.modules])
"""


@pytest.mark.parametrize(("program", "modules"), [(EVERY_MODULE, 60), (THE_COMMAND, 0)], ids=["chord_fl", "command"])
def test_what_an_import_does_not_load(program: str, modules: int) -> None:
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    count, loaded = result.stdout.splitlines()
    assert int(count) >= modules and loaded == "[]"
