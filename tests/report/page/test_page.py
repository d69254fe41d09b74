"""The whole page: what is on it, that its figures are the runs' own, and that nothing of a run gets out of its text."""

import json
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from chord_fl.errors import ConfigError
from chord_fl.report.page.render import Written, write

VOID = {"meta", "link", "br", "hr", "img", "input"}
ONE_ROUND = {
    *("accuracy", "bytes", "control", "memory_accuracy", "history_accuracy", "plans_highest"),
    *("plans_layers", "plans_channels", "purposes", "virtual_seconds", "joules", "bits"),
}


class Page(HTMLParser):
    """What a browser would make of it: tags must close in order; tables, figures and ids are collected."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.tables: list[list[list[str]]] = []
        self.words = ""
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data
        if not {"style", "svg"} & set(self.open):
            self.words += data

    @property
    def figures(self) -> set[str]:
        return {str(attributes["id"]).replace("figure-", "") for tag, attributes in self.tags if tag == "figure"}

    def row(self, head: str, table: int = 0) -> list[str]:
        return next(row[1:] for row in self.tables[table] if row[0] == head)


def parsed(written: Written) -> Page:
    return Page(written.page.read_text(encoding="utf-8"))


def report(folder: Path, *runs: Path) -> Page:
    return parsed(write(runs, folder / "report.html"))


def summary(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "summary.json").read_text())
    return found


@pytest.fixture(scope="module")
def written(comparison: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Written:
    folder = tmp_path_factory.mktemp("page")
    return write(comparison, folder / "report.html", folder / "figures")


@pytest.fixture(scope="module")
def page(written: Written) -> Page:
    return parsed(written)


def altered(run: Path, to: Path, **changes: Any) -> Path:
    """A copy of a run with other figures in its summary."""
    shutil.copytree(run, to)
    (to / "summary.json").write_text(json.dumps({**summary(run), **changes}))
    return to


def test_nothing_is_loaded_and_every_figure_is_there(page: Page) -> None:
    assert page.figures == ONE_ROUND
    assert not {tag for tag, _ in page.tags} & {"script", "link", "img", "iframe", "object"}
    links = [str(value) for _, attributes in page.tags for name, value in attributes.items() if name in ("href", "src")]
    assert links and all(link.startswith("#") for link in links)
    assert not re.search(r"url\((?!#)|@import|@font-face", page.html)
    assert "default-src 'none'" in page.html


def test_ids_are_unique_and_links_lead_somewhere(page: Page) -> None:
    ids = [str(attributes["id"]) for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {str(a["href"])[1:] for _, a in page.tags if "href" in a} <= set(ids)
    assert set(re.findall(r"url\(#([^)]+)\)", page.html)) <= set(ids)


def test_figures_follow_the_theme_and_say_what_they_show(page: Page) -> None:
    svgs = re.findall(r"<svg.*?</svg>", page.html, flags=re.DOTALL)
    assert len(svgs) == len(ONE_ROUND)
    defined = set(re.findall(r"(--c-[0-9a-f]{6}):", page.html))
    for svg in svgs:
        assert re.match(r'<svg viewBox="[^"]+" role="img" aria-labelledby="\S+-title \S+-desc"><title id', svg)
        assert len(re.findall(r"<desc [^>]*>([^<]*)</desc>", svg)[0]) > 10
        assert set(re.findall(r"var\((--c-[0-9a-f]{6})\)", svg)) <= defined
        # a colour that is not a variable would stay as it is in the dark
        assert not re.findall(r'style="[^"]*(#[0-9a-fA-F]{6})', svg), svg[:200]
        assert "<style" not in svg  # it would reach the page


def test_who_is_not_sampled_is_not_lost(sampled: list[Path], tmp_path: Path) -> None:
    page = report(tmp_path, *sampled)
    assert page.tables[0][0][1:] == ["chord", "FedAvg", "popular"]
    assert page.row("devices with a result") == ["100.0%"] * 3
    assert page.row("not sampled") == ["0", "45", "0"]
    assert page.row("NDCG@10, no result counts 0") == page.row("NDCG@10")
    assert "Every device had a result in every round that asked it for one." in page.words
    assert "memory_served" not in page.figures and "statuses" not in page.figures


def test_the_table_has_the_figures_of_the_summaries(page: Page, comparison: list[Path]) -> None:
    chord, static, finetune, again = map(summary, comparison)
    assert page.tables[0][0][1:] == ["chord, 2 seeds", "static", "finetune"]
    for head, key in (("NDCG@5", "ndcg@5"), ("HR@10", "hr@10"), ("NDCG@10", "ndcg@10")):
        both = np.array([chord[key], again[key]])
        assert page.row(head)[0] == f"{both.mean():.4f} ± {both.std(ddof=1):.4f}"
        assert page.row(head)[1:] == [f"{static[key]:.4f}", f"{finetune[key]:.4f}"]
    assert page.row("bytes down per device")[1] == f"{static['downlink_bytes'] / 90:,.0f}"
    assert page.row("average bits")[1:] == ["32.000", "32.000"]
    assert page.row("NDCG@10, stranger's plan")[1:] == ["-", "-"]
    assert page.row("devices with a result") == ["100.0%"] * 3
    assert page.row("failures") == ["0"] * 3


def test_the_best_of_a_line_is_marked(page: Page, comparison: list[Path]) -> None:
    line = re.search(r'<th scope="row">profile, plan, weights</th>(.*?)</tr>', page.html)
    assert line and re.findall(r"<strong>(.*?)</strong>", line[1]) == [page.row("profile, plan, weights")[0]]


def test_a_single_run_has_the_gain_and_standard_error_of_its_summary(comparison: list[Path], tmp_path: Path) -> None:
    found, chord = report(tmp_path, comparison[0]), summary(comparison[0])
    assert found.html == report(tmp_path, comparison[0]).html  # the same runs, the same page
    assert found.row("NDCG@10, own - stranger's") == [f"{chord['ndcg@10_gain']:+.4f}"]
    assert found.row("standard error, paired") == [f"{chord['ndcg@10_gain_se']:.4f}"]
    control = next(table for table in found.tables if "stranger's" in table[0])
    told = abs(chord["ndcg@10_gain"]) > 2 * chord["ndcg@10_gain_se"]
    assert ("not told apart from chance" not in control[1][1]) == told
    assert control[1][4:6] == [f"{chord['ndcg@10_gain']:+.4f}", f"{chord['ndcg@10_gain_se']:.4f}"]


def test_bytes_by_purpose_are_the_ledgers(page: Page, comparison: list[Path]) -> None:
    table = next(table for table in page.tables if table[0][0] == "bytes per device")
    ledger = pd.read_parquet(comparison[1] / "ledger.parquet").astype({"purpose": str})
    sums = ledger.groupby("purpose")["payload_bytes"].sum()
    rows = {row[0].partition(",")[0]: row for row in table[1:]}
    assert rows["weights"][3] == f"{sums['weights'] / 90:,.0f}" and rows["weights"][2] == "-"
    assert rows["profile"][3] == "-"


def test_other_seeds_are_said(page: Page) -> None:
    assert "Not the same seeds: chord: 0, 1; static: 0; finetune: 0." in page.words


def test_a_life_has_sessions_losses_and_their_reasons(life: list[Path], tmp_path: Path) -> None:
    found = report(tmp_path, *life)
    assert found.tables[0][0][1:] == ["chord (refresh always)", "chord (refresh once)"]
    assert {
        "rounds_accuracy",
        "rounds_bytes",
        "rounds_asked",
        "rounds_served",
        "statuses",
        "memory_served",
    } <= found.figures
    losses = next(index for index, table in enumerate(found.tables) if table[0][0] == "devices and rounds")
    for column, folder in enumerate(life):
        devices = pd.read_parquet(folder / "devices.parquet")
        assert found.row("lost", losses)[column] == f"{(devices['status'] == 'lost').sum():,}"
        damaged = devices["error"].str.startswith("checksum: found").sum()
        reasons = found.tables[losses + 1]
        assert sum(int(row[column + 1]) for row in reasons if row[0].startswith("checksum")) == damaged > 0
    assert len([row for row in reasons if row[0].startswith("checksum")]) == 1  # whatever the sums were
    assert found.row("rounds asking for a plan")[0] == f"{summary(life[0])['asked']:.1%}"


def test_accuracy_over_other_devices_is_not_ranked(run: Callable[..., Path], tmp_path: Path) -> None:
    both = [run(f"tight/{name}", name, population__constrain=True) for name in ("chord", "static")]
    served = [pd.read_parquet(folder / "devices.parquet")["status"].eq("ok").mean() for folder in both]
    assert served[1] < 0.9 * served[0]
    found = report(tmp_path, *both)
    assert "Not the same devices" in found.words
    assert found.row("devices with a result") == [f"{share:.1%}" for share in served]
    everybody = [summary(folder)["ndcg@10"] * share for folder, share in zip(both, served, strict=True)]
    assert found.row("NDCG@10, no result counts 0") == [f"{value:.4f}" for value in everybody]
    line = re.search(r'<th scope="row">NDCG@10</th>(.*?)</tr>', found.html)
    assert line and "<strong>" not in line[1]


def test_runs_of_other_conditions_stand_apart_and_what_a_run_says_is_text(
    comparison: list[Path], tmp_path: Path
) -> None:
    evil = '</style><script>alert("x")</script>&$\\frac{1}{2}$'
    hostile = altered(comparison[0], tmp_path / "hostile", strategy=evil, population=evil, dataset=evil)
    devices = hostile / "devices.parquet"
    rows = pd.read_parquet(devices)
    rows.loc[:50, ["error", "status"]] = [evil, "failed"]
    shutil.rmtree(devices)
    rows.to_parquet(devices)
    (hostile / "config.toml").write_text((hostile / "config.toml").read_text() + f"\n# {evil}\n")
    found = report(tmp_path, comparison[0], hostile)
    assert "script" not in {tag for tag, _ in found.tags} and "<script" not in found.html
    assert found.words.count("alert") >= 3  # it is shown, as the text that it is

    assert "Not comparable." in found.words and "Part B" in found.words
    why = {row[0]: row[1:] for row in found.tables[0][1:]}
    assert why == {"population.source": ["phones", Path(evil).name]}
    assert "a-accuracy" in found.figures and "b-accuracy" in found.figures
    assert not any("against" in row[0] for table in found.tables for row in table)  # no pair across parts


def test_figures_are_written_as_png_and_svg(written: Written) -> None:
    assert {path.name for path in written.figures} == {
        f"{name}.{kind}" for name in ONE_ROUND for kind in ("png", "svg")
    }
    assert all(path.stat().st_size > 1000 for path in written.figures)
    assert written.runs == 4 and not written.left_out


@pytest.mark.parametrize(("out", "figures"), [(".", None), ("file/report.html", None), ("report.html", "file/figures")])
def test_what_cannot_be_written_is_said_before_any_work(tmp_path: Path, out: str, figures: str | None) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"^--(out|figures) ") as refusal:
        write([tmp_path / "nowhere"], tmp_path / out, None if figures is None else tmp_path / figures)
    assert "\n" not in str(refusal.value)
