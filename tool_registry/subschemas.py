"""Where in a JSON Schema the schemas are, as opposed to names and values that look like them."""

from collections.abc import Callable
from typing import Any

__all__ = ["all_subschemas", "json_depth", "map_subschemas"]

Schema = dict[str, Any]

_NAMED = (
    "properties",
    "patternProperties",
    "$defs",
    "definitions",
    "dependentSchemas",
    "dependencies",
)
_LISTED = ("anyOf", "allOf", "oneOf", "prefixItems")
_SINGLE = (
    *("items", "additionalProperties", "additionalItems", "contains", "not"),
    *("if", "then", "else", "propertyNames", "unevaluatedItems", "unevaluatedProperties"),
    "contentSchema",
)


def map_subschemas(schema: Schema, change: Callable[[Schema], Schema]) -> Schema:
    """``schema`` with ``change`` applied to the schemas directly inside it, and only to those.

    A property that happens to be called ``title`` or ``items`` is a name, not a keyword; this
    function alone knows the difference.
    """

    def apply(value: Any) -> Any:
        return change(value) if isinstance(value, dict) else value

    result: Schema = {}
    for key, value in schema.items():
        if key in _NAMED and isinstance(value, dict):
            result[key] = {name: apply(sub) for name, sub in value.items()}
        elif isinstance(value, list) and (key in _LISTED or key == "items"):
            result[key] = [apply(sub) for sub in value]
        else:
            result[key] = apply(value) if key in _SINGLE or key == "items" else value
    return result


def all_subschemas(schema: Schema) -> list[Schema]:
    """Every schema inside ``schema``, itself first; the very objects, not copies."""
    found: list[Schema] = []

    def visit(part: Schema) -> Schema:
        found.append(part)
        map_subschemas(part, visit)
        return part

    visit(schema)
    return found


def json_depth(value: Any) -> int:
    """How deeply lists and objects nest in a JSON value; 0 for a bare string or number."""
    depth, level = 0, [value]
    while level := [item for item in level if isinstance(item, dict | list)]:
        depth += 1
        level = [
            child for item in level for child in (item.values() if isinstance(item, dict) else item)
        ]
    return depth
