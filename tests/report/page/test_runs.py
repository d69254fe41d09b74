"""Folders that are no run, cut off, damaged, or from another version."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from chord_fl.errors import ConfigError
from chord_fl.report.page.groups import group
from chord_fl.report.page.render import write
from chord_fl.report.page.runs import find, read
from chord_fl.report.record import Record, Round, missing_rows

BYTES = ["uplink_bytes", "downlink_bytes", "envelope_bytes"]  # the record's own to fill


@pytest.fixture
def copy(comparison: list[Path], tmp_path: Path) -> Path:
    """A run of one's own to damage."""
    return Path(shutil.copytree(comparison[0], tmp_path / "copy"))


def rewrite(folder: Path, **changes: Any) -> None:
    found = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps({**found, **changes}))


def test_a_folder_stands_for_the_runs_in_it_in_the_order_of_the_comparison(comparison: list[Path]) -> None:
    compared = comparison[0].parent
    assert [path.name for path in find([compared])] == ["chord", "finetune", "static"]
    pd.DataFrame({"label": ["static", "finetune", "chord"]}).to_csv(compared / "compare.csv")
    try:
        assert [path.name for path in find([compared])] == ["static", "finetune", "chord"]
        assert len(find([compared, compared / "chord", compared.parent])) > 3  # no run twice, others beside them
        assert len(set(find([compared.parent]))) == len(find([compared.parent, compared]))
    finally:
        (compared / "compare.csv").unlink()


def test_a_whole_run_has_no_gaps(comparison: list[Path]) -> None:
    assert read(comparison[0]).gaps == () == read(comparison[1]).gaps


@pytest.mark.parametrize(
    ("name", "damage", "gap"),
    [
        ("devices.parquet", "remove", "devices.parquet is missing"),
        ("devices.parquet", "damage", "devices.parquet cannot be read"),
        ("ledger.parquet", "damage", "ledger.parquet cannot be read"),
        ("channels.parquet", "remove", "channels.parquet is missing: written by an earlier version"),
        ("channels.parquet", "damage", "channels.parquet cannot be read"),
        ("phones.parquet", "remove", "phones.parquet is missing"),
        ("rounds.csv", "damage", "rounds.csv cannot be read"),
        ("config.toml", "remove", "config.toml is missing"),
        ("config.toml", "damage", "config.toml cannot be read"),
    ],
)
def test_what_cannot_be_read_is_left_out_and_noted(copy: Path, name: str, damage: str, gap: str) -> None:
    target = copy / name
    if damage == "remove":
        shutil.rmtree(target) if target.is_dir() else target.unlink()
    else:
        broken = sorted(target.iterdir())[0] if target.is_dir() else target
        broken.write_bytes(b"\x00\xff = broken [")
    assert any(found.startswith(gap) for found in read(copy).gaps)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rounds": 0}, "no round was finished"),
        ({"rounds": "many"}, "rounds = 'many'"),
        ({"strategy": None}, "strategy = None"),
        ({"devices": -4}, "devices = -4"),
    ],
)
def test_a_summary_that_makes_no_sense_is_refused_in_one_line(copy: Path, changes: dict[str, Any], words: str) -> None:
    rewrite(copy, **changes)
    with pytest.raises(ConfigError) as refusal:
        write([copy], copy.parent / "report.html")
    assert words in str(refusal.value) and str(copy) in str(refusal.value) and "\n" not in str(refusal.value)
    assert not (copy.parent / "report.html").exists()


def test_what_is_left_of_a_run_has_a_page_and_one_that_cannot_be_read_is_named(copy: Path) -> None:
    other = Path(shutil.copytree(copy, copy.parent / "other"))
    (other / "summary.json").write_text("{")
    for name in ("devices.parquet", "ledger.parquet", "channels.parquet"):
        shutil.rmtree(copy / name)
    for name in ("phones.parquet", "rounds.csv", "config.toml"):
        (copy / name).unlink()
    written = write([copy, other], copy.parent / "report.html")
    assert written.runs == 1 and len(written.left_out) == 1 and str(other) in written.left_out[0]
    page = written.page.read_text(encoding="utf-8")
    assert "Left out." in page and "devices.parquet is missing; ledger.parquet is missing" in page


@pytest.mark.parametrize("kind", ["nothing", "file", "empty"])
def test_a_path_without_runs_is_refused_in_one_line(tmp_path: Path, kind: str) -> None:
    path = tmp_path / kind
    if kind == "file":
        path.touch()
    elif kind == "empty":
        path.mkdir()
    with pytest.raises(ConfigError, match=f"^report .*{kind}") as refusal:
        find([path])
    assert "\n" not in str(refusal.value)


def test_a_run_that_was_cut_off_says_after_how_many_rounds(life: list[Path], tmp_path: Path) -> None:
    cut = Path(shutil.copytree(life[0], tmp_path / "cut"))
    rewrite(cut, rounds=2)
    (cut / "devices.parquet" / "part-0000003.parquet").unlink()
    pd.read_csv(cut / "rounds.csv").head(2).to_csv(cut / "rounds.csv", index=False)
    assert read(cut).gaps == ("stopped after 2 of 3 rounds",)
    assert len(group([read(cut), read(life[0])])) == 2  # two rounds and three are not the same measurement


def test_a_run_in_which_nobody_had_a_result_has_a_page(tmp_path: Path) -> None:
    record = Record(tmp_path / "run", {"strategy": "mine", "dataset": "d", "backbone": "sasrec", "seed": 0}, 4)
    record.folder.mkdir()
    record.add(Round(1, missing_rows(np.arange(4), "no reply in time").drop(columns=BYTES), float("nan"), 0.0))
    page = write([record.folder], tmp_path / "report.html").page.read_text(encoding="utf-8")
    assert "no reply in time" in page and "config.toml is missing" in page
