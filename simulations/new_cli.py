"""`chord-fl new`: files to start from."""

import importlib.util
import keyword
from importlib import resources
from pathlib import Path
from string import Template
from typing import Annotated

import typer

from chord_fl.errors import ConfigError

app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")

_FILES = {"{}.py": "strategy.py.txt", "test_{}.py": "test_strategy.py.txt"}  # what is written: its template
_SMALL = "--dataset synthetic --devices 300 --items 300 --epochs 1 --train-users 100"


@app.callback()
def new() -> None:
    """Write files to start from.

    [bold]Examples[/]
      chord-fl new strategy mine
          A strategy, mine.py, and its tests, test_mine.py; both run at once.
      chord-fl new strategy mine --out elsewhere
          The same in another folder.
    """


@app.command()
def strategy(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the module, such as my_plans.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder to write into. Default: this one.", show_default=False)] = Path("."),
) -> None:
    """Write a strategy, NAME.py, and its tests, test_NAME.py.

    Both run at once; the command prints how.

    [bold]Examples[/]
      chord-fl new strategy mine
          Then: chord-fl simulate --strategy mine:Mine
    """
    _check_name(name)
    class_name = "".join(word[:1].upper() + word[1:] for word in name.split("_"))
    folder = resources.files("simulations") / "templates"
    texts = {
        out / path.format(name): Template((folder / template).read_text()).substitute(name=name, class_name=class_name)
        for path, template in _FILES.items()
    }
    for path in texts:
        if path.exists():
            raise ConfigError(f"{path} exists already: choose another name, or another folder with --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
        for path, text in texts.items():
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--out {out}: cannot be written ({error.strerror})") from error
    typer.echo(f"Written: {', '.join(map(str, texts))}. Next" + (f", in {out}:" if out != Path(".") else ":"))
    typer.echo(f"  chord-fl compare --strategies chord,{name}:{class_name} {_SMALL}")
    without = "" if importlib.util.find_spec("pytest") else "  (first: pip install pytest)"
    typer.echo(f"  pytest test_{name}.py{without}")


def _check_name(name: str) -> None:
    """Raise ConfigError unless a module of this name can be written and imported."""
    if not name.isidentifier() or keyword.iskeyword(name) or not name.strip("_"):
        raise ConfigError(f"NAME = {name!r}: a module's name has letters, digits and _, and begins with no digit")
    found = importlib.util.find_spec(name)
    if found is not None:
        raise ConfigError(f"NAME = {name!r}: there is a module of that name already, {found.origin}: choose another")
