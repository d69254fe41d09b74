"""What can be added is named in a dict, by MODULE:NAME: a table of names costs nothing until one of them is used."""

import importlib
from typing import Any


def imported(place: str) -> Any:
    """What "MODULE:NAME" stands for. Raises ImportError or AttributeError."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)
