"""What MODULE:NAME stands for: in the dicts of these packages, and in a user's configuration.

A table of such names costs nothing until one of them is used.
"""

import importlib
import os
import re
import sys
import traceback
from types import ModuleType
from typing import Any

from chord_fl.errors import ChordError, ConfigError


def imported(place: str) -> Any:
    """What "MODULE:NAME" stands for. Raises ImportError or AttributeError."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


def imported_for_user(place: str, key: str) -> Any:
    """What a user's "MODULE:NAME" stands for. Raises ConfigError, one line that begins with `key`."""
    module_name, _, name = place.partition(":")
    module = users_module(module_name, key)
    if not hasattr(module, name):
        raise ConfigError(f"{key}: {name or 'MODULE:NAME'} is not in {module_name}")
    return getattr(module, name)


def users_module(name: str, key: str) -> ModuleType:
    """A module in the current folder or installed. Raises ConfigError, one line that begins with `key`.

    The folder stays on the path, so that worker processes find it too.
    """
    if os.getcwd() not in sys.path:  # last, so that nothing there hides what is installed
        sys.path.append(os.getcwd())
    if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", name):
        raise ConfigError(f"{key}: {name!r} is no name of a module")
    try:
        return importlib.import_module(name)
    except ChordError:
        raise
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise ConfigError(f"{key}: no module {name}, neither here nor installed") from error
        raise ConfigError(f"{key}: importing {name}: {described(error)}") from error
    except Exception as error:  # a file of the user's: whatever is wrong with it
        raise ConfigError(f"{key}: importing {name}: {described(error)}") from error


def described(error: Exception) -> str:
    """An error in one line, and where it was raised."""
    if isinstance(error, SyntaxError):
        file, line, message = error.filename or "?", error.lineno, error.msg
    else:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        file, line, message = frame.filename, frame.lineno, str(error)
    return f"{type(error).__name__}: {' '.join(message.split())[:200]} ({os.path.basename(file)}, line {line})"
