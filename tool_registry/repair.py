"""Undoes one frequent slip of models: a list or an object sent as a string of JSON."""

import json
from typing import Any

from tool_registry.tool import ToolSpec

__all__ = ["repair_arguments"]

_KINDS: dict[str, type] = {"array": list, "object": dict}


def repair_arguments(spec: ToolSpec, arguments: dict[str, Any]) -> dict[str, Any]:
    """``arguments`` with each such string decoded, where the schema leaves no doubt.

    A parameter is touched only if its schema says array or object and never string, and the text
    decodes to what it says. Only for running the call: the log keeps what the model wrote.
    """
    repaired = {}
    for name, value in arguments.items():
        if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
            schema = spec.parameters.get("properties", {}).get(name)
            value = _decoded(value, _types(schema, spec.parameters, frozenset()))
        repaired[name] = value
    return repaired


def _decoded(text: str, types: set[str]) -> Any:
    wanted = tuple(_KINDS[name] for name in types & _KINDS.keys())
    if not wanted or not types <= {*_KINDS, "null"}:
        return text
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, wanted) else text


def _types(schema: Any, root: dict[str, Any], seen: frozenset[str]) -> set[str]:
    """The types a schema allows by name; ``any`` stands for whatever cannot be told."""
    if not isinstance(schema, dict):
        return {"any"}
    if "type" in schema:
        named = schema["type"]
        return {named} if isinstance(named, str) else set(named)
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference not in seen:
        name = reference.removeprefix("#/$defs/")
        return _types(root.get("$defs", {}).get(name), root, seen | {reference})
    branches = schema.get("anyOf") or schema.get("oneOf") or [None]
    return {name for branch in branches for name in _types(branch, root, seen)}
