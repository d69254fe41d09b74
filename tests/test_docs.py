"""The pages: what they list is there. `make docs` itself checks links and markup."""

import inspect
import pkgutil
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
PUBLIC = re.findall(r"^\.\. auto\w+:: (\S+)$", (DOCS / "api.md").read_text(), re.MULTILINE)


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_exists_and_says_what_it_is(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    found = pkgutil.resolve_name(f"{module}:{attribute}")
    assert found.__module__ == module, "listed where it is defined"
    assert not attribute.startswith("_") and len(inspect.getdoc(found) or "") > 10
    assert not (found.__doc__ or "").startswith(f"{attribute}("), "a docstring of its own, not the dataclass's"


def test_public_names_are_listed_once() -> None:
    assert len(PUBLIC) == len(set(PUBLIC)) > 50


def test_every_page_is_in_the_index() -> None:
    listed = re.findall(r"^(?:.*<)?([\w./-]+?)>?$", (DOCS / "index.md").read_text(), re.MULTILINE)
    assert {path.stem for path in DOCS.glob("*.md")} - {"index"} <= set(listed)
