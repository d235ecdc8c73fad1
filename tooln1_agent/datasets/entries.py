"""Opens data files: JSON Lines or one JSON list, gzip or plain, one value at a time.

JSON Lines are streamed; a list is read whole. A line that is no JSON is a value like any other,
so that its reader can count it and go on.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, NoReturn, cast

from tooln1_agent.datasets.rows import BROKEN_JSON, NOT_UTF8, Skipped
from tooln1_agent.errors import DataError

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Entry(NamedTuple):
    """One JSON value of a file, and where it stands."""

    value: Any
    place: str


def read_entries(path: str | Path, *, allow_nan: bool = False) -> Iterator[Entry | Skipped]:
    """Yield the values of a file; a line that cannot be decoded is yielded as `Skipped`.

    Args:
        allow_nan: whether NaN and the infinities, which JSON does not know, are read.

    Raises:
        DataError: the file cannot be read, or begins a JSON list that is damaged.
    """
    path = Path(path)
    number = 0
    try:
        with _open(path) as file:
            is_first = True
            for number, line in enumerate(file, 1):
                data = line.removeprefix(_BYTE_ORDER_MARK).strip() if is_first else line.strip()
                if is_first and data.startswith(b"["):
                    rest = line.removeprefix(_BYTE_ORDER_MARK) + file.read()
                    yield from _from_list(rest, path, number, allow_nan=allow_nan)
                    return
                if data:
                    is_first = False
                    yield _entry(data, f"line {number}", allow_nan=allow_nan)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"cannot read {str(path)!r} after line {number}: {error}; expected JSON Lines or a "
            "JSON list in UTF-8, with gzip if the name ends in .gz"
        ) from error


def read_json(text: str, *, allow_nan: bool = False) -> Any:
    """Read a JSON text; raises `ValueError`, whatever is wrong with it."""
    try:
        return json.loads(text, parse_constant=None if allow_nan else _refuse_constant)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _open(path: Path) -> BinaryIO:
    if path.suffix == ".gz":
        return cast("BinaryIO", gzip.open(path, "rb"))
    return path.open("rb")


def _entry(data: bytes, place: str, *, allow_nan: bool) -> Entry | Skipped:
    try:
        return Entry(read_json(data.decode(), allow_nan=allow_nan), place)
    except UnicodeDecodeError as error:
        return Skipped(NOT_UTF8, f"expected UTF-8: {error}", place)
    except ValueError as error:
        return Skipped(BROKEN_JSON, str(error), place)


def _from_list(
    data: bytes, path: Path, number: int, *, allow_nan: bool
) -> Iterator[Entry | Skipped]:
    """Yield what stands in a list, or what stands in lines of which the first is a list."""
    try:
        listed = read_json(data.decode(), allow_nan=allow_nan)
    except json.JSONDecodeError as error:
        if not error.msg.startswith("Extra data"):
            raise _damaged(path, error) from error
        lines = enumerate(data.split(b"\n"), number)
        yield from (
            _entry(line, f"line {at}", allow_nan=allow_nan) for at, line in lines if line.strip()
        )
        return
    except ValueError as error:
        raise _damaged(path, error) from error
    yield from (Entry(value, f"row {at}") for at, value in enumerate(listed, 1))


def _damaged(path: Path, error: ValueError) -> DataError:
    return DataError(f"{str(path)!r} begins a JSON list that cannot be read: {error}")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")
