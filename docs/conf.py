"""How the documentation is built: `make docs`. The source is the whole checkout, so that links between pages, results
and files are the same on the site as on a code host; a link to something that is no page becomes a download."""

import inspect
import re
import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from sphinx.application import Sphinx

_PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]

project = _PROJECT["name"]
release = version = _PROJECT["version"]
copyright = "the chord-fl contributors"
root_doc = "docs/index"
include_patterns = ["*.md", "docs/*.md", "results/**.md"]
exclude_patterns = ["results/**/runs"]
extensions = ["myst_parser", "sphinx.ext.autodoc"]

myst_heading_anchors = 3
smartquotes = False
# tables of results are reached from the page that explains them; a sidebar with all of them would hide the rest
suppress_warnings = ["toc.not_included"]

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
default_role = "code"  # docstrings are written in Markdown's way: `one backtick` is code
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88

html_theme = "furo"
html_title = f"{project} {release}"
html_show_sourcelink = False
html_copy_source = False
templates_path = ["_templates"]
html_additional_pages = {"index": "start.html"}  # the root of the site leads to the first page
pygments_dark_style = "monokai"


def setup(app: Sphinx) -> None:
    """Docstrings as written, and the keys of the configuration's sections from their fields."""
    app.connect("autodoc-process-docstring", _complete)
    app.connect("autodoc-process-signature", _signature)


def _complete(app: Sphinx, what: str, name: str, found: Any, options: Any, lines: list[str]) -> None:
    if what != "class":
        return
    if (inspect.getdoc(found) or "").startswith(f"{found.__name__}("):
        lines.clear()  # what a dataclass writes about itself says no more than its signature
    if issubclass(found, BaseModel):
        for key, schema in found.model_json_schema()["properties"].items():
            if "$ref" not in schema:  # a section is listed by itself
                text = [f"``{schema['default']!r}``", _allowed(schema), schema.get("description", "")]
                lines.append(f"- ``{key}``: {'; '.join(part for part in text if part)}")
        lines.append("")


def _allowed(schema: dict[str, Any]) -> str:
    """The values that a key may have, from its JSON schema; nothing where that is anything."""
    for one in schema.get("anyOf", []):
        schema = {**schema, **one} if one.get("type") != "null" else schema
    if "enum" in schema:
        return "of " + ", ".join(map(str, schema["enum"]))
    bounds = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    return ", ".join(f"{words} {schema[key]:,}" for key, words in bounds.items() if key in schema)


def _signature(
    app: Sphinx, what: str, name: str, found: Any, options: Any, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    if what == "class" and issubclass(found, BaseModel):
        return "", None  # its keys are listed
    return _as_written(signature), _as_written(returns)


def _as_written(text: str | None) -> str | None:
    """With `NDArray[...]` where autodoc spells out what that stands for."""
    return text and re.sub(
        r"~numpy\.ndarray\[tuple\[~typing\.Any, \.\.\.\], ~numpy\.dtype\[(\S+?)\]\]", r"NDArray[\1]", text
    )
