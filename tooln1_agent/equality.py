"""When two calls are the same: arguments compared as their tool's schema reads them.

Defaults are filled in, at every depth; numbers compare by value (2 equals 2.0) and never equal
booleans; strings compare exactly, lists in order, objects without order. A schema that cannot be
followed (a reference to nowhere, say) leaves the value as it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tool_registry.calls import ToolCall
from tool_registry.tool import ToolSpec

_MAX_DEPTH = 64
_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list, tuple),
    "string": (str,),
    "integer": (int, float),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}


def canonical_call(call: ToolCall, specs: Mapping[str, ToolSpec]) -> str:
    """Write a call so that equal calls are equal texts."""
    spec = specs.get(call.name)
    schema = {} if spec is None else spec.parameters
    return json.dumps([call.name, _canonical(call.arguments, schema, schema)], sort_keys=True)


def _canonical(value: Any, schema: Any, root: dict[str, Any], depth: int = 0) -> Any:
    """Bring a value to the form in which equal values are the same."""
    if depth > _MAX_DEPTH:
        return value
    for part in _parts(value, schema, root) or [{}]:
        if isinstance(value, dict):
            value = _with_defaults(value, part)
            value = {
                key: _canonical(item, _property(part, key), root, depth + 1)
                for key, item in value.items()
            }
        elif isinstance(value, list | tuple):
            value = [
                _canonical(item, _item(part, index), root, depth + 1)
                for index, item in enumerate(value)
            ]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _parts(value: Any, schema: Any, root: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the schemas that hold for a value: without references, unions decided."""
    parts: list[dict[str, Any]] = []
    waiting, seen = [schema], set[int]()
    while waiting:
        part = waiting.pop()
        if not isinstance(part, dict) or id(part) in seen:
            continue
        seen.add(id(part))
        parts.append(part)
        waiting.append(_target(part.get("$ref"), root))
        waiting += _list(part.get("allOf"))
        for union in ("anyOf", "oneOf"):
            waiting.append(_branch(value, _list(part.get(union)), root))
    return parts


def _branch(value: Any, branches: list[Any], root: dict[str, Any]) -> Any:
    """Return the first branch of a union that the value may belong to."""
    return next((branch for branch in branches if _may_be(value, branch, root)), None)


def _may_be(value: Any, schema: Any, root: dict[str, Any]) -> bool:
    """Whether type, constants and required or known properties speak for a branch."""
    if not isinstance(schema, dict):
        return False
    resolved = _target(schema.get("$ref"), root)
    schema = resolved if isinstance(resolved, dict) else schema
    kinds = _list(schema.get("type", []))
    known = [_TYPES[kind] for kind in kinds if isinstance(kind, str) and kind in _TYPES]
    if known and not any(_is_of(value, kind) for kind in known):
        return False
    if "const" in schema and schema["const"] != value:
        return False
    if "enum" in schema and value not in _list(schema["enum"]):
        return False
    if not isinstance(value, dict):
        return True
    properties = schema.get("properties", {})
    if any(name not in value for name in _list(schema.get("required", []))):
        return False
    tags = {name: prop for name, prop in properties.items() if isinstance(prop, dict)}
    return all(
        "const" not in prop or value.get(name, prop["const"]) == prop["const"]
        for name, prop in tags.items()
    ) and (schema.get("additionalProperties") is not False or value.keys() <= properties.keys())


def _is_of(value: Any, types: tuple[type, ...]) -> bool:
    return isinstance(value, types) and (bool in types or not isinstance(value, bool))


def _with_defaults(value: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return value
    defaults = {
        name: prop["default"]
        for name, prop in properties.items()
        if isinstance(prop, dict) and "default" in prop and name not in value
    }
    return {**defaults, **value}


def _property(schema: dict[str, Any], name: str) -> Any:
    properties = schema.get("properties")
    if isinstance(properties, dict) and name in properties:
        return properties[name]
    return schema.get("additionalProperties")


def _item(schema: dict[str, Any], index: int) -> Any:
    first = schema.get("prefixItems")
    if isinstance(first, list) and index < len(first):
        return first[index]
    return schema.get("items")


def _target(reference: Any, root: dict[str, Any]) -> Any:
    """Follow a reference inside the schema (`#/$defs/Name`); nothing where it leads nowhere."""
    if not isinstance(reference, str) or not reference.startswith("#"):
        return None
    place: Any = root
    for step in reference.removeprefix("#").split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(place, dict) or name not in place:
            return None
        place = place[name]
    return place


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]
