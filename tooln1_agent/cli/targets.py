"""Finds the agent that a command line names: `package.module:agent` or `path/to/file.py:agent`."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType

from tooln1_agent.agent import Agent
from tooln1_agent.errors import ConfigError, ToolN1Error

_FORM = "expected MODULE:AGENT, e.g. my_package.agents:agent or agents.py:agent"


def load_agent(target: str) -> Agent:
    """Import the module and return the agent in it.

    Raises:
        ConfigError: no such module or attribute, it is no `Agent`, or its code failed.
    """
    place, _, name = target.rpartition(":")
    if not place or not name:
        raise ConfigError(f"{target!r} names no agent; {_FORM}")
    module = _load_file(Path(place)) if place.endswith(".py") else _load_module(place)
    found = getattr(module, name, None)
    if isinstance(found, Agent):
        return found
    agents = [key for key, value in vars(module).items() if isinstance(value, Agent)]
    hint = f"agents there: {', '.join(agents)}" if agents else "there is no Agent in it"
    what = f"has no {name!r}" if found is None else f"has {name!r}, a {type(found).__name__}"
    raise ConfigError(f"{place!r} {what}, but an Agent is needed; {hint}")


def _load_module(name: str) -> ModuleType:
    sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise ConfigError(_failure(name, error)) from error
        raise ConfigError(f"there is no module {name!r} here or installed; {_FORM}") from error
    except ToolN1Error:
        raise
    except Exception as error:  # the user's code, which may raise anything
        raise ConfigError(_failure(name, error)) from error


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise ConfigError(f"there is no file {str(path)!r}; {_FORM}")
    sys.path.insert(0, str(path.resolve().parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None  # it ends in .py
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # pydantic and pickle look the module up by name
    try:
        spec.loader.exec_module(module)
    except ToolN1Error:
        raise
    except Exception as error:  # the user's code, which may raise anything
        raise ConfigError(_failure(str(path), error)) from error
    return module


def _failure(place: str, error: Exception) -> str:
    """Say in one line what failed and where in the user's code."""
    where = ""
    if isinstance(error, SyntaxError):
        where = f" ({error.filename}:{error.lineno})"
    elif frames := traceback.extract_tb(error.__traceback__):
        where = f" ({frames[-1].filename}:{frames[-1].lineno})"
    return f"{place!r} failed while it was loaded: {type(error).__name__}: {error}{where}"
