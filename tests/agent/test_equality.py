"""Calls are the same when their tool's schema reads them alike."""

from __future__ import annotations

from typing import Any

import pytest

from tool_registry import ToolCall, ToolSpec
from tooln1_agent.equality import canonical_call

PLACE = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "country": {"type": "string", "default": "DE"}},
    "required": ["city"],
}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "place": {"$ref": "#/$defs/Place"},
        "stops": {"type": "array", "items": {"$ref": "#/$defs/Place"}},
        "payment": {
            "anyOf": [
                {"type": "object", "properties": {"kind": {"const": "card"},
                                                  "rate": {"type": "number", "default": 0}},
                 "required": ["kind"]},
                {"type": "object", "properties": {"kind": {"const": "cash"},
                                                  "coins": {"type": "boolean", "default": False}},
                 "required": ["kind"]},
                {"type": "null"},
            ]
        },
        "note": {"type": ["string", "null"], "default": None},
        "options": {"default": {}, "allOf": [
            {"type": "object", "properties": {"fast": {"type": "boolean", "default": True}}},
            {"properties": {"tries": {"type": "integer", "default": 1}}},
        ]},
        "pair": {"type": "array", "prefixItems": [{"type": "integer"}, PLACE]},
        "by_name": {"type": "object", "additionalProperties": PLACE},
        "tree": {"$ref": "#/$defs/Tree"},
    },
    "$defs": {
        "Place": PLACE,
        "Tree": {"type": "object", "properties": {
            "size": {"type": "integer", "default": 1}, "child": {"$ref": "#/$defs/Tree"}}},
    },
}  # fmt: skip
SPECS = {"go": ToolSpec(name="go", parameters=SCHEMA)}


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    first, second = (
        canonical_call(ToolCall(name="go", arguments=arguments), SPECS)
        for arguments in (one, other)
    )
    return first == second


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({}, {"note": None}),
        ({}, {"options": {"fast": True, "tries": 1.0}}),
        ({"place": {"city": "Ulm"}}, {"place": {"country": "DE", "city": "Ulm"}}),
        ({"stops": [{"city": "Ulm"}]}, {"stops": [{"city": "Ulm", "country": "DE"}]}),
        ({"payment": {"kind": "card"}}, {"payment": {"kind": "card", "rate": 0.0}}),
        ({"payment": {"kind": "cash"}}, {"payment": {"kind": "cash", "coins": False}}),
        ({"pair": [1, {"city": "Ulm"}]}, {"pair": [1.0, {"city": "Ulm", "country": "DE"}]}),
        ({"by_name": {"x": {"city": "Ulm"}}}, {"by_name": {"x": {"city": "Ulm", "country": "DE"}}}),
        ({"tree": {"child": {}}}, {"tree": {"size": 1, "child": {"size": 1.0}}}),
    ],
)
def test_defaults_hold_at_every_depth(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert same(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({}, {"note": ""}),
        ({"payment": None}, {}),
        ({"payment": {"kind": "cash"}}, {"payment": {"kind": "cash", "rate": 0}}),
        ({"place": {"city": "Ulm"}}, {"place": {"city": "Ulm", "country": "FR"}}),
        ({"stops": [{"city": "A"}, {"city": "B"}]}, {"stops": [{"city": "B"}, {"city": "A"}]}),
        ({"options": {"tries": True}}, {"options": {"tries": 1}}),
        ({"tree": {"size": 1}}, {"tree": {"size": "1"}}),
    ],
)
def test_what_differs_stays_apart(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert not same(one, other)


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/nowhere"},
        {"$ref": "#"},
        {"$ref": "#/properties/a", "properties": {"a": {"$ref": "#/properties/a"}}},
        {"properties": {"a": 1}, "allOf": 3, "anyOf": [None, {"type": 7}]},
        {"properties": []},
    ],
)
def test_a_schema_that_cannot_be_followed_leaves_values_alone(schema: dict[str, Any]) -> None:
    specs = {"go": ToolSpec.model_construct(name="go", parameters=schema)}
    call = ToolCall(name="go", arguments={"a": {"b": [1, 2.5]}})
    assert canonical_call(call, specs) == '["go", {"a": {"b": [1, 2.5]}}]'
