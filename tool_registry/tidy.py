"""Makes a generated JSON Schema short enough to read: a model pays for every word of it.

Titles that repeat a name go, definitions are written where they are used (unless they refer to
themselves), and ``anyOf`` with null becomes a list of types.
"""

from typing import Any

from tool_registry.subschemas import map_subschemas

__all__ = ["tidy"]

Schema = dict[str, Any]

_FIRST = ("type", "description")
_DEFS = "#/$defs/"


def tidy(schema: Schema) -> Schema:
    """The same constraints in fewer words; the input is left as it was."""
    definitions: dict[str, Schema] = schema.get("$defs", {})
    kept: dict[str, Schema] = {}

    def shorten(part: Schema) -> Schema:
        reference = part.get("$ref", "")
        name = reference.removeprefix(_DEFS)
        if name in definitions and reference != name:
            beside = {key: value for key, value in part.items() if key != "$ref"}
            if name not in recursive:
                return shorten({**definitions[name], **beside})
            if name not in kept:
                kept[name] = {}  # present before descending, or it would never end
                kept[name] = shorten(definitions[name])
        part = {key: value for key, value in part.items() if key not in ("title", "$defs")}
        part = _merge_null(map_subschemas(part, shorten))
        return {key: part[key] for key in (*_FIRST, *part) if key in part}

    recursive = {name for name in definitions if name in _reachable(name, definitions)}
    result = shorten(schema)
    return {**result, "$defs": kept} if kept else result


def _reachable(start: str, definitions: dict[str, Schema]) -> set[str]:
    """Names of the definitions that ``start`` refers to, directly or not."""
    seen: set[str] = set()
    waiting = [definitions[start]]

    def visit(part: Schema) -> Schema:
        name = str(part.get("$ref", "")).removeprefix(_DEFS)
        if name in definitions and name not in seen:
            seen.add(name)
            waiting.append(definitions[name])
        return map_subschemas(part, visit)

    while waiting:
        visit(waiting.pop())
    return seen


def _merge_null(schema: Schema) -> Schema:
    """``anyOf: [{type: T, ...}, {type: null}]`` as ``type: [T, null], ...`` where that is equal."""
    branches = schema.get("anyOf", [])
    others = [branch for branch in branches if branch != {"type": "null"}]
    if len(branches) != 2 or len(others) != 1:
        return schema
    (other,) = others
    if not isinstance(other.get("type"), str) or other.keys() & {"const", "not", "anyOf", "oneOf"}:
        return schema
    if schema.keys() & (other.keys() - {"description"}):
        return schema
    merged = {**other, **{key: value for key, value in schema.items() if key != "anyOf"}}
    merged["type"] = [other["type"], "null"]
    if "enum" in other:
        merged["enum"] = [*other["enum"], None]
    return merged
