"""The settings file, `tooln1.toml`: one table for each part that can be set up."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from tooln1_agent.errors import ConfigError

DEFAULT_FILE = Path("tooln1.toml")
FILE_VARIABLE = "TOOLN1_CONFIG"
_TABLES = ("serve", "retrain", "gate")


def chosen_file(file: Path | None = None) -> Path | None:
    """Return the file that holds: the given one, the variable's, or the default if it exists."""
    named = file or os.environ.get(FILE_VARIABLE)
    if named:
        return Path(named)
    return DEFAULT_FILE if DEFAULT_FILE.is_file() else None


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file; raises ConfigError."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {str(path)!r}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{str(path)!r} is not valid TOML: {error}") from error


def read_table(path: Path, name: str, *, known: Iterable[str]) -> dict[str, Any]:
    """Return one table of a settings file, empty if it is not there.

    Raises ConfigError where the file holds a table, or this table a setting, that does not exist.
    """
    content = read_toml(path)
    refuse_unknown(content, _TABLES, where=f"{path}: table")
    table = content.get(name, {})
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: {name!r} is {table!r:.40}, but must be a table: [{name}]")
    refuse_unknown(table, known, where=f"{path}: setting")
    return table


def refuse_unknown(given: Iterable[str], known: Iterable[str], *, where: str) -> None:
    """Raise ConfigError at the first name that is not known, and give the nearest."""
    names = sorted(known)
    for name in given:
        if name not in names:
            raise ConfigError(f"{where} {name!r} does not exist{nearest(name, names)}")


def nearest(name: str, known: Collection[str]) -> str:
    """Return the end of a sentence that helps with a misspelt name."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(sorted(known))}"
