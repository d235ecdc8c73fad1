"""Calls and specs as data: canonical form, fingerprint, the OpenAI form."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tool_registry import Registry, ToolCall, ToolSpec, tool
from tool_registry.errors import InvalidTool

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
ARGUMENTS = st.dictionaries(st.text(max_size=8), JSON_VALUES, max_size=4)


@given(ARGUMENTS, st.randoms())
def test_the_key_ignores_order_and_id(arguments, random):
    names = list(arguments)
    random.shuffle(names)
    shuffled = {name: arguments[name] for name in names}
    first = ToolCall(id="1", name="f", arguments=arguments)
    assert first.key() == ToolCall(id="2", name="f", arguments=shuffled).key()
    assert json.loads(first.key()) == {"name": "f", "arguments": arguments}


def test_the_key_tells_true_from_one():
    assert (
        ToolCall(name="f", arguments={"x": True}).key()
        != ToolCall(name="f", arguments={"x": 1}).key()
    )


def test_equal_calls_hash_alike():
    assert (
        len({ToolCall(name="f", arguments={"x": 1}), ToolCall(name="f", arguments={"x": 1})}) == 1
    )


@given(ARGUMENTS)
def test_a_spec_survives_storage_with_its_fingerprint(properties):
    spec = ToolSpec(name="f", description="d", parameters={"properties": {"x": properties}})
    again = ToolSpec.model_validate_json(spec.model_dump_json())
    assert (again, again.fingerprint) == (spec, spec.fingerprint)
    assert len(spec.fingerprint) == 16


def test_every_part_of_a_spec_changes_its_fingerprint():
    spec = ToolSpec(name="f")
    assert (
        spec.fingerprint
        == ToolSpec(name="f", parameters={"type": "object", "properties": {}}).fingerprint
    )
    changes = [{"name": "g"}, {"description": "d"}, {"parameters": {"type": "object"}}]
    copies = [spec.model_copy(update=change) for change in changes]
    assert len({spec.fingerprint, *(copy.fingerprint for copy in copies)}) == 4


def test_a_spec_owns_its_schema():
    given_schema = {"type": "object", "properties": {"x": {"type": "string"}}}
    spec = ToolSpec(name="f", parameters=given_schema)
    given_schema["properties"]["x"]["type"] = "integer"
    assert spec.parameters["properties"]["x"] == {"type": "string"}


def test_the_openai_form_round_trips():
    spec = ToolSpec(name="math.add", description="Add.", parameters={"type": "object"})
    assert ToolSpec.from_openai(spec.to_openai()) == spec
    assert ToolSpec.from_openai({"type": "function", "function": {"name": "f"}}) == ToolSpec(
        name="f"
    )


@pytest.mark.parametrize(
    ("entry", "names"),
    [
        (3, "3"),
        ({"type": "function"}, "function"),
        ({"type": "web_search", "function": {"name": "f"}}, "web_search"),
        ({"function": {}}, "name"),
        ({"function": {"name": "a b"}}, "'a b'"),
        ({"function": {"name": "x" * 129}}, "129 characters"),
        ({"function": {"name": "f", "parameters": []}}, "parameters"),
        ({"function": {"name": "f", "parameters": {"type": "dict"}}}, "'dict'"),
        ({"function": {"name": "f", "description": 3}}, "description"),
        ({"function": {"name": "f", "parameters": {"x": float("nan")}}}, "not JSON"),
        ({"function": {"name": "f", "parameters": {"x": "\ud800"}}}, "not JSON"),
    ],
)
def test_a_bad_openai_entry_is_refused_by_what_is_wrong(entry, names):
    with pytest.raises(InvalidTool, match="tool") as caught:
        ToolSpec.from_openai(entry)
    assert names in str(caught.value)


@given(JSON_VALUES)
def test_reading_an_openai_entry_raises_nothing_else(value):
    for entry in (value, {"function": value}, {"function": {"name": "f", "parameters": value}}):
        try:
            ToolSpec.from_openai(entry)
        except InvalidTool:
            continue


def test_specs_do_not_change():
    with pytest.raises(ValidationError):
        ToolSpec(name="f").name = "g"


def test_our_own_names_are_shorter_than_imported_ones():
    ToolSpec(name="x" * 100)
    with pytest.raises(InvalidTool, match="at most 64"):
        tool(name="x" * 65)(len_of)


def len_of(text: str) -> int:
    """Count characters."""
    return len(text)


def test_a_tool_is_called_like_its_function():
    counted = tool(len_of)
    assert counted("abc") == counted(text="abc") == 3
    assert counted.replay_safe is False
    assert Registry([len_of]).get("len_of").spec == counted.spec


def test_options_go_by_keyword():
    counted = tool(name="count", description="Count.", timeout_s=2, replay_safe=True)(len_of)
    assert (counted.spec.name, counted.spec.description) == ("count", "Count.")
    assert (counted.timeout_s, counted.replay_safe) == (2, True)
    with pytest.raises(InvalidTool, match="by keyword"):
        tool("count")
    with pytest.raises(InvalidTool, match="timeout_s"):
        tool(timeout_s=0)(len_of)
