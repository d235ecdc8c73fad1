"""Reads a file of a form row by row, and tells a file of another form from one with bad rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from tooln1_agent.datasets.entries import Entry, read_entries
from tooln1_agent.datasets.rows import BROKEN_JSON, NOT_OF_FORM, NOT_UTF8, Skipped
from tooln1_agent.errors import DataError, RowRefused

T = TypeVar("T")
Reader = Callable[[dict[str, Any]], Iterable[T | Skipped]]
"""Gives what an entry holds, at least one thing; raises `RowRefused` where it cannot go on."""

_STRANGE = frozenset({NOT_OF_FORM, BROKEN_JSON, NOT_UTF8})
_STRANGE_ROWS = 20
"""As many rows that are not of the form, and none that is, and the file is of another."""


def read_file(
    path: str | Path, reader: Reader[T], *, form: str, allow_nan: bool = False
) -> Iterator[T | Skipped]:
    """Yield what the rows of a file hold; what cannot be used comes with its reason and place.

    Args:
        form: the form's name, for errors.
        allow_nan: see `read_entries`.

    Raises:
        DataError: the file cannot be read, or none of its first rows is of the form.
    """
    is_of_form = False
    first: Skipped | None = None
    looks_like: str | None = None
    for number, entry in enumerate(read_entries(path, allow_nan=allow_nan), 1):
        found = _read(entry, reader)
        yield from found
        strange = [each for each in found if isinstance(each, Skipped) and each.reason in _STRANGE]
        is_of_form = is_of_form or len(strange) < len(found)
        if is_of_form:
            continue
        first = first or strange[0]
        looks_like = looks_like or (_looks_like(entry.value) if isinstance(entry, Entry) else None)
        if number >= _STRANGE_ROWS:
            break
    if first is not None and not is_of_form:
        hint = f"; it looks like {looks_like!r}" if looks_like not in (None, form) else ""
        raise DataError(
            f"{str(path)!r} is not of the form {form!r}{hint} ({first.place}: "
            f"{first.reason}: {first.detail})"
        )


def _read(entry: Entry | Skipped, reader: Reader[T]) -> list[T | Skipped]:
    if isinstance(entry, Skipped):
        return [entry]
    found: list[T | Skipped] = []
    try:
        if not isinstance(entry.value, dict):
            raise RowRefused(NOT_OF_FORM, f"expected an object, got {entry.value!r:.80}")
        for each in reader(entry.value):
            found.append(each._replace(place=entry.place) if isinstance(each, Skipped) else each)
    except RowRefused as error:
        found.append(Skipped(error.reason, error.detail, entry.place))
    return found


def _looks_like(value: Any) -> str | None:
    if not isinstance(value, dict):
        return None
    if value.get("form") == "tooln1":
        return "tooln1"
    if {"match", "expected"} <= value.keys():
        return "bfcl"
    if {"query", "answers"} <= value.keys():
        return "xlam"
    if isinstance(said := value.get("conversations"), list):
        speakers = {each.get("from") for each in said if isinstance(each, dict)}
        return "toolace" if "assistant" in speakers else "sharegpt"
    return "openai" if "messages" in value else None
