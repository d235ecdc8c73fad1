"""Type names as data sets write them ("List[str], optional", "dict", "float"), as JSON Schema.

A name that is not known becomes a schema that allows everything: a tool is not lost over it, and
no argument is refused for it.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

_NAMES = {
    "str": "string",
    "string": "string",
    "text": "string",
    "int": "integer",
    "integer": "integer",
    "long": "integer",
    "float": "number",
    "double": "number",
    "number": "number",
    "bool": "boolean",
    "boolean": "boolean",
    "list": "array",
    "array": "array",
    "tuple": "array",
    "set": "array",
    "sequence": "array",
    "iterable": "array",
    "dict": "object",
    "object": "object",
    "mapping": "object",
    "none": "null",
    "nonetype": "null",
    "null": "null",
}
_FORM = re.compile(r"\s*([A-Za-z_.]+)\s*(?:\[(.*)\])?\s*", re.S)
_MAX_CHARS = 500


class TypeText(NamedTuple):
    """What a type text says."""

    schema: dict[str, Any]
    is_optional: bool
    """Whether the argument may be left out."""


def read_type(text: str) -> TypeText:
    """Read a type and the remarks after it, e.g. "int, optional". Never raises."""
    if len(text) > _MAX_CHARS:
        return TypeText({}, False)
    named, *remarks = _split(text, ",")
    is_optional = any(remark.strip().casefold() == "optional" for remark in remarks)
    return TypeText(_schema(named), is_optional or named.strip().startswith("Optional["))


def json_type(name: Any) -> str | None:
    """Return the JSON Schema type of a bare type name; None if it is not known."""
    return _NAMES.get(name.strip().casefold()) if isinstance(name, str) else None


def _schema(text: str) -> dict[str, Any]:
    options = _split(text, "|")
    if len(options) > 1:
        return _any_of(options)
    found = _FORM.fullmatch(text)
    if found is None:
        return {}
    name, inner = found[1].rpartition(".")[2].casefold(), found[2]
    arguments = [part for part in _split(inner, ",") if part.strip()] if inner else []
    if name == "union":
        return _any_of(arguments)
    if name == "optional":
        return _any_of([*arguments, "None"])
    kind = _NAMES.get(name)
    if kind is None:
        return {}
    schema: dict[str, Any] = {"type": kind}
    if kind == "array" and (items := _common(arguments)):
        schema["items"] = items
    if kind == "object" and len(arguments) == 2 and (values := _schema(arguments[1])):
        schema["additionalProperties"] = values
    return schema


def _any_of(options: list[str]) -> dict[str, Any]:
    schemas = [_schema(option) for option in options]
    return {"anyOf": schemas} if schemas and all(schemas) else {}


def _common(types: list[str]) -> dict[str, Any]:
    """Return the one schema of all items; nothing where they differ (as in a tuple)."""
    schemas = [_schema(each) for each in types if each.strip() != "..."]
    return schemas[0] if schemas and all(schema == schemas[0] for schema in schemas) else {}


def _split(text: str, separator: str) -> list[str]:
    """Split where the separator stands outside brackets."""
    parts, depth, start = [], 0, 0
    for at, char in enumerate(text):
        depth += (char in "[(") - (char in "])")
        if char == separator and depth == 0:
            parts.append(text[start:at])
            start = at + 1
    return [*parts, text[start:]]
