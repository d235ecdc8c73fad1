"""Arguments against a spec: what the model is told, and what a hostile schema cannot do."""

import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tool_registry import Registry, ToolCall, ToolSpec, tool
from tool_registry.errors import DuplicateTool, InvalidTool, UnknownTool
from tool_registry.validation import validate_arguments

ORDER = {
    "type": "object",
    "properties": {
        "size": {"enum": ["S", "M", "L"]},
        "color": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 9},
        "count": {"type": ["integer", "null"], "minimum": 1},
        "to": {
            "type": "object",
            "properties": {"street": {"type": "string"}},
            "required": ["street"],
            "additionalProperties": False,
        },
        "tags": {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
        "when": {"anyOf": [{"type": "integer"}, {"type": "array", "items": {"type": "string"}}]},
    },
    "required": ["size"],
}


def spec(**parameters):
    return ToolSpec(name="order", parameters={"type": "object", **parameters})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": "S"}, None),
        ({"size": "S", "count": None, "tags": [], "when": ["now"], "to": {"street": "x"}}, None),
        ({"size": "XL"}, 'arguments.size: expected one of "S", "M", "L", got "XL"'),
        ({}, 'missing argument "size"'),
        ({"size": "S", "count": "3"}, 'arguments.count: expected integer or null, got "3"'),
        ({"size": "S", "count": True}, "arguments.count: expected integer or null, got true"),
        ({"size": "S", "count": 0}, "arguments.count: expected at least 1, got 0"),
        (
            {"size": "S", "color": "RED"},
            'arguments.color: expected text matching "^[a-z]+$", got "RED"',
        ),
        (
            {"size": "S", "color": "a" * 10},
            'arguments.color: expected at most 9 characters, got "aaaaaaaaaa"',
        ),
        ({"size": "S", "to": {}}, 'arguments.to: missing "street"'),
        ({"size": "S", "to": []}, "arguments.to: expected object, got array []"),
        (
            {"size": "S", "to": {"street": "x", "zip": 1}},
            'arguments.to: unknown "zip"; known: "street"',
        ),
        (
            {"size": "S", "tags": ["a", "a"]},
            'arguments.tags: expected items without repetition, got array ["a", "a"]',
        ),
        ({"size": "S", "when": "now"}, 'arguments.when: expected integer or array, got "now"'),
        ({"size": "S", "when": [1]}, "arguments.when[0]: expected string, got 1"),
        (
            {"size": "S", "colour": "red"},
            'unknown argument "colour"; known: "color", "count", "size", "tags", "to", "when"',
        ),
    ],
)
def test_the_message_says_where_what_was_expected_and_what_came(arguments, message):
    assert validate_arguments(ToolSpec(name="order", parameters=ORDER), arguments) == message


def test_several_faults_are_told_together():
    message = validate_arguments(ToolSpec(name="order", parameters=ORDER), {"count": 0, "x": 1})
    assert all(part in message for part in ("size", "at least 1", 'unknown argument "x"'))


def test_long_values_are_shown_in_part():
    message = validate_arguments(spec(properties={"a": {"type": "integer"}}), {"a": "x" * 10_000})
    assert len(message) < 200


def test_names_are_closed_unless_the_schema_opens_them():
    assert (
        validate_arguments(spec(properties={}), {"x": 1}) == 'unknown argument "x"; it takes none'
    )
    assert validate_arguments(spec(), {"x": 1}) is None
    assert validate_arguments(spec(properties={}, additionalProperties=True), {"x": 1}) is None
    typed = spec(properties={}, additionalProperties={"type": "string"})
    assert validate_arguments(typed, {"x": 1}) == "arguments.x: expected string, got 1"


def test_property_patterns_are_followed():
    schema = spec(patternProperties={"^x": {"type": "integer"}}, additionalProperties=False)
    assert validate_arguments(schema, {"x1": 1}) is None
    assert "expected integer" in validate_arguments(schema, {"x1": "s"})
    assert 'unknown argument "y"' in validate_arguments(schema, {"x1": 1, "y": 1})


def test_old_drafts_keep_their_meaning():
    pair = {"a": {"type": "array", "items": [{"type": "integer"}]}}
    draft_7 = {"$schema": "http://json-schema.org/draft-07/schema#", "properties": pair}
    assert "a[0]: expected integer" in validate_arguments(spec(**draft_7), {"a": ["x"]})
    with pytest.raises(InvalidTool, match="properties/a/items"):
        validate_arguments(spec(properties=pair), {})


def test_local_references_work_even_into_lists():
    schema = spec(
        properties={
            "a": {"$ref": "#/$defs/A%20b"},
            "c": {"$ref": "#/properties/d/anyOf/0"},
            "d": {"anyOf": [{"type": "integer"}]},
        },
        **{"$defs": {"A b": {"type": "string"}}},
    )
    assert validate_arguments(schema, {"a": "x", "c": 1}) is None
    assert "expected string" in validate_arguments(schema, {"a": 1})
    assert "expected integer" in validate_arguments(schema, {"c": "x"})


def nested(levels):
    schema = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema["properties"]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"properties": {"a": {"type": "dict"}}}, "properties/a/type"),
        ({"properties": {"a": {"type": 3}}}, "properties/a/type"),
        ({"properties": {"a": {"pattern": 3}}}, "properties/a/pattern"),
        ({"properties": {"a": {"minimum": "1"}}}, "properties/a/minimum"),
        ({"properties": []}, "properties"),
        ({"required": "a"}, "required"),
        ({"properties": {"a": {"$ref": "http://169.254.169.254/x"}}}, "169.254"),
        ({"properties": {"a": {"$ref": "file:///etc/passwd"}}}, "passwd"),
        ({"properties": {"a": {"$ref": "#/$defs/missing"}}}, "missing"),
        ({"properties": {"a": {"$ref": "#/default", "default": {"minimum": "x"}}}}, "no schema"),
        ({"properties": {"a": {"$id": "http://x/", "type": "string"}}}, "local"),
        ({"properties": {"a": {"$ref": "#/properties/a"}}}, "defined as itself"),
        ({"anyOf": [{"not": {"$ref": "#"}}]}, "defined as itself"),
        ({"properties": nested(40)}, "levels deep"),
        ({"properties": {"a": {"description": "x" * 70_000}}}, "characters"),
        ({"properties": {f"p{n}": {"pattern": "a"} for n in range(65)}}, "65 patterns"),
    ],
)
def test_an_unusable_schema_is_refused_by_its_place(parameters, message, monkeypatch):
    monkeypatch.setattr(socket, "socket", None)
    with pytest.raises(InvalidTool, match="'order'") as caught:
        validate_arguments(spec(**parameters), {"a": 1})
    assert message in str(caught.value)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("pattern", [r"^(a+)+$", r"^(\w+\s?)*$", r"(a|aa)+$", r"(.*)*x"])
def test_no_pattern_can_hang(pattern):
    message = validate_arguments(
        spec(properties={"a": {"pattern": pattern}}), {"a": "a" * 50_000 + "!"}
    )
    assert "expected text matching" in message


@pytest.mark.parametrize("pattern", [r"(?=a)b", r"(a)\1", "[a-", r"\w{100000}", "x" * 600])
def test_a_pattern_that_cannot_be_bounded_is_not_checked(pattern):
    assert validate_arguments(spec(properties={"a": {"pattern": pattern}}), {"a": "zzz"}) is None


def chain(levels):
    """A schema that is one reference after another."""
    definitions = {f"d{n}": {"$ref": f"#/$defs/d{n + 1}"} for n in range(levels)}
    return {"properties": {"a": {"$ref": "#/$defs/d0"}}, "$defs": {**definitions, f"d{levels}": {}}}


def doubling(levels):
    """A schema whose check takes two to the power of ``levels`` steps if nothing stops it."""
    definitions = {
        f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}, {"$ref": f"#/$defs/d{n + 1}"}]}
        for n in range(levels)
    }
    return {"properties": {"a": {"$ref": "#/$defs/d0"}}, "$defs": {**definitions, f"d{levels}": {}}}


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "parameters",
    [
        doubling(40),
        chain(500),
        {"properties": {"a": {"multipleOf": 0.1}}},
        {"properties": {"a": {"not": {"not": {"items": {"enum": list(range(9000))}}}}}},
    ],
)
def test_a_costly_schema_fails_the_call_and_not_the_worker(parameters):
    number = "not" not in parameters["properties"]["a"]
    message = validate_arguments(spec(**parameters), {"a": 10**400 if number else [1] * 5000})
    assert "could not be checked" in message


def test_deep_arguments_are_refused_and_legal_depth_is_not():
    tree = spec(properties={"a": {"$ref": "#"}})

    def deep(levels):
        arguments = {}
        for _ in range(levels):
            arguments = {"a": arguments}
        return arguments

    assert validate_arguments(tree, deep(31)) is None
    assert "levels deep" in validate_arguments(tree, deep(2000))


SCHEMAS = st.recursive(
    st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["string", "integer", "array", "object", "null", "boolean"]),
            "pattern": st.text(max_size=6),
            "enum": st.lists(st.integers() | st.text(max_size=2), max_size=3),
            "$ref": st.sampled_from(["#", "#/properties/a", "#/properties/a/items", "x"]),
            "uniqueItems": st.booleans(),
        },
    ),
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "items": inner,
            "anyOf": st.lists(inner, min_size=1, max_size=3),
            "oneOf": st.lists(inner, min_size=1, max_size=3),
            "not": inner,
            "properties": st.fixed_dictionaries({"a": inner}),
            "patternProperties": st.dictionaries(st.text(max_size=3), inner, max_size=2),
            "additionalProperties": inner | st.booleans(),
            "required": st.lists(st.text(max_size=2), unique=True, max_size=2),
        },
    ),
    max_leaves=6,
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(deadline=None)
@given(SCHEMAS, VALUES)
def test_validation_ends_with_a_message_or_invalid_tool_for_any_input(schema, value):
    try:
        message = validate_arguments(spec(properties={"a": schema}), {"a": value})
    except InvalidTool:
        return
    assert message is None or message


@tool
def add(numbers: list[int], scale: dict[str, float] | None = None, note: str = "") -> float:
    """Add numbers."""
    return sum(numbers) * (scale or {}).get("by", 1)


def test_a_registry_knows_its_tools():
    registry = Registry([add])
    assert (registry.specs, len(registry), list(registry)) == ((add.spec,), 1, [add])
    assert ("add" in registry, "sub" in registry) == (True, False)


def test_an_unknown_name_is_answered_with_those_that_exist():
    with pytest.raises(
        UnknownTool, match=r'^unknown tool "ad"; did you mean "add"\?; known: "add"$'
    ):
        Registry([add]).get("ad")
    with pytest.raises(KeyError, match="there are no tools"):
        Registry().get("ad")


def test_names_are_unique():
    with pytest.raises(DuplicateTool, match="'add'"):
        Registry([add, add])


def test_a_list_or_object_sent_as_text_is_repaired_in_a_new_call():
    call = ToolCall(
        name="add", arguments={"numbers": "[1, 2]", "scale": '{"by": 2}', "note": "[1]"}
    )
    runnable, message = Registry([add]).validate(call)
    assert message is None
    assert runnable.arguments == {"numbers": [1, 2], "scale": {"by": 2}, "note": "[1]"}
    assert call.arguments["numbers"] == "[1, 2]"


@pytest.mark.parametrize("text", ["[1", "{}", "[" * 100_000, "1", "null"])
def test_text_that_is_something_else_is_left_and_refused(text):
    runnable, message = Registry([add]).validate(ToolCall(name="add", arguments={"numbers": text}))
    assert runnable.arguments == {"numbers": text}
    assert "expected array" in message


def test_a_parameter_that_may_be_text_is_never_repaired():
    def keep(value: list[int] | str, node: dict[str, int]) -> None:
        pass

    call = ToolCall(name="keep", arguments={"value": "[1]", "node": "{}"})
    runnable, _ = Registry([keep]).validate(call)
    assert runnable.arguments == {"value": "[1]", "node": {}}
