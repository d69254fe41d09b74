"""The help pages: every command teaches by examples that work, and what is mistyped is answered with what was meant."""

import inspect
import shlex
import sys
from typing import Any

import click
import pytest
import typer
from typer.testing import CliRunner

from chord_fl import __version__
from simulations import options as o
from simulations.cli import app, main
from simulations.run_cli import compare

GROUP: Any = typer.main.get_command(app)
COMMANDS = sorted(GROUP.commands)


def lines(command: str) -> list[str]:
    return inspect.cleandoc(GROUP.commands[command].help or "").splitlines()


def examples(command: str) -> list[str]:
    return [line.strip() for line in lines(command) if line.strip().startswith(f"chord-fl {command} ")]


EXAMPLES = [example for command in COMMANDS for example in examples(command)]


def context_of(example: str) -> click.Context:
    words = shlex.split(example.partition(">")[0])
    assert words[0] == "chord-fl"
    context: click.Context = GROUP.commands[words[1]].make_context(words[1], words[2:])
    return context


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_examples_that_fit_a_terminal(command: str) -> None:
    assert len(examples(command)) >= 2
    assert max(map(len, lines(command))) <= 78
    for number, line in enumerate(lines(command)):
        if line.strip() in examples(command):
            assert lines(command)[number + 1].startswith("      "), f"{line}: what does it show?"


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_is_accepted(example: str) -> None:
    context = context_of(example)
    given = {name: value for name, value in context.params.items() if name in inspect.signature(o.resolve).parameters}
    flags = {name: value for name, value in context.params.items() if name in o.KEYS and value is not None}
    if context.command.name == "data":
        flags["dataset"] = context.params["name"]
    if context.command.name == "devices":
        flags["devices"] = context.params["count"]
    o.resolve(**given, **flags)


def test_the_front_page_names_every_command_and_what_to_expect() -> None:
    page = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "80"}).output
    for text in (*COMMANDS, "First steps", "Exit codes", "Environment", "130", "runs/TIME-STRATEGY", "--version"):
        assert text in page
    assert max(map(len, page.splitlines())) <= 80


@pytest.mark.parametrize("width", ["80", "120"])
@pytest.mark.parametrize("command", COMMANDS)
def test_pages_fit_their_terminal(command: str, width: str) -> None:
    page = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": width}).output
    assert "Examples" in page and max(map(len, page.splitlines())) <= int(width)


@pytest.mark.parametrize("command", COMMANDS)
def test_options_say_their_default_and_have_a_panel(command: str) -> None:
    context = GROUP.commands[command].make_context(command, [], resilient_parsing=True)
    for option in GROUP.commands[command].params:
        if isinstance(option, click.Option) and option.name != "help":
            text = (option.help or "").lower()
            shown = getattr(option, "show_default", False) and option.get_default(context) is not None
            assert shown or "default" in text or option.is_flag, f"{command} --{option.name}: {option.help}"
            assert getattr(option, "rich_help_panel", None) in o.PANELS, option.name


def test_simulate_and_compare_take_the_same_options() -> None:
    simulate_, compare_ = ({p.name for p in GROUP.commands[name].params} for name in ("simulate", "compare"))
    assert simulate_ - compare_ == {"strategy"} and compare_ - simulate_ == {"strategies"}
    assert set(o.KEYS) <= simulate_, "every key that has a flag has it there"
    assert "flags" not in inspect.signature(compare).parameters


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["chord-fl", *arguments])
    with pytest.raises(SystemExit) as exit_:
        main()
    return int(str(exit_.value.code or 0))


def test_the_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"chord-fl {__version__}\n"


def test_without_a_command_there_is_the_front_page(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch) == 2
    shown = capsys.readouterr()
    assert "First steps" in shown.out and shown.err.strip() == ""


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["simluate"], ["'simluate'", "did you mean simulate?", "chord-fl --help"]),
        (["simulate", "--devcies", "3"], ["--devcies", "did you mean --devices?", "simulate --help"]),
        (["simulate", "--no-constrian"], ["--no-constrian", "did you mean --no-constrain?"]),
        (["zzz"], ["no such command 'zzz'."]),
        (["simulate", "--seed", "x"], ["'--seed'", "'x'", "integer. See"]),
        (["devices", "--devices", "0"], ["'--devices'", "1<=x<=10000000"]),
        (["data"], ["missing argument 'NAME'"]),
    ],
)
def test_wrong_usage_is_one_line_with_a_suggestion(
    arguments: list[str], parts: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and line.count("id you mean") <= 1
    for part in parts:
        assert part in line
