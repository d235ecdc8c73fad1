"""The small languages within data sets: Python-like calls, type names, loose schemas."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tooln1_agent.datasets.python_calls import read_calls
from tooln1_agent.datasets.python_types import read_type
from tooln1_agent.datasets.schemas import clean_schema, flat_schema, read_tools
from tooln1_agent.errors import RowRefused

CALLS: list[tuple[str, list[tuple[str, dict[str, Any]]]]] = [
    ("[f()]", [("f", {})]),
    (" [ f ( ) , g( ) ] ", [("f", {}), ("g", {})]),
    ("[Get a/b.c-d 2(x y=1)]", [("Get a/b.c-d 2", {"x y": 1})]),
    (
        "[f(a='it\\'s', b=\"\\\"q\\\"\", c='a,)(]')]",
        [("f", {"a": "it's", "b": '"q"', "c": "a,)(]"})],
    ),
    ("[f(a='\\n\\t\\\\ \\u00e9 \\x41 \\d')]", [("f", {"a": "\n\t\\ é A \\d"})]),
    ("[f(a=-1, b=2.50, c=1e3, d=+.5)]", [("f", {"a": -1, "b": 2.5, "c": 1000.0, "d": 0.5})]),
    ("[f(a=True,b=false,c=None,d=null)]", [("f", {"a": True, "b": False, "c": None, "d": None})]),
    (
        "[f(a=[1, [2,], ()], b={'k': {'l': []}})]",
        [("f", {"a": [1, [2], []], "b": {"k": {"l": []}}})],
    ),
    ("[f(a=1,)]", [("f", {"a": 1})]),
]
NO_CALLS = [
    *("", "f(a=1)", "[f(a=1)", "[f(a=1)] and", "[f]", "[(a=1)]", "[f(1)]", "[f(a=)]", "[f(a=b)]"),
    *("[f(a=g(1))]", "[f(a=1+1)]", "[f(a=1, a=2)]", "[f(a='x)]", "[f(a={1: 2})]", "[f(a=1e999)]"),
    *(
        "[f(a={'k': 1, 'k': 2})]",
        "[f(a='\\U00110000')]",
        f"[f(a={'9' * 5000})]",
        "[f(,)]",
        "[f()g()]",
    ),
    "[f(a=" + "[" * 1000,
]


@pytest.mark.parametrize(("text", "calls"), CALLS)
def test_calls_are_read(text: str, calls: list[Any]) -> None:
    found = read_calls(text.strip())
    assert found == calls
    assert json.dumps(found) == json.dumps(calls)  # True is not 1


@pytest.mark.parametrize("text", NO_CALLS)
def test_what_is_no_list_of_calls_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        read_calls(text)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.floats(allow_nan=False).filter(lambda x: abs(x) != float("inf")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), VALUES, max_size=4))
def test_whatever_python_writes_is_read_back(arguments: dict[str, Any]) -> None:
    written = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
    assert read_calls(f"[a tool({written})]") == [("a tool", arguments)]


@given(st.text(alphabet="[](){}'\"=,:\\ af1.e-\n", max_size=60))
def test_any_other_text_is_read_or_refused(text: str) -> None:
    try:
        found = read_calls(text)
    except ValueError:
        return
    assert all(json.dumps(arguments) for _, arguments in found)


ANY: dict[str, Any] = {}
TYPES: list[tuple[str, dict[str, Any], bool]] = [
    ("str", {"type": "string"}, False),
    ("int, optional", {"type": "integer"}, True),
    ("float, default is 2, optional", {"type": "number"}, True),
    ("List[str]", {"type": "array", "items": {"type": "string"}}, False),
    (
        "typing.Dict[str, List[float]], optional",
        {
            "type": "object",
            "additionalProperties": {"type": "array", "items": {"type": "number"}},
        },
        True,
    ),
    ("Tuple[int, int]", {"type": "array", "items": {"type": "integer"}}, False),
    ("Tuple[int, str]", {"type": "array"}, False),
    ("Tuple[int, ...]", {"type": "array", "items": {"type": "integer"}}, False),
    ("Union[int, str]", {"anyOf": [{"type": "integer"}, {"type": "string"}]}, False),
    ("bool | None", {"anyOf": [{"type": "boolean"}, {"type": "null"}]}, False),
    ("Optional[int]", {"anyOf": [{"type": "integer"}, {"type": "null"}]}, True),
    ("Union[int, Widget]", ANY, False),
    ("Any", ANY, False),
    ("Callable[[int], str]", ANY, False),
    ("", ANY, False),
    ("a number of things", ANY, False),
    ("List[" * 400, ANY, False),
]


@pytest.mark.parametrize(("text", "schema", "is_optional"), TYPES)
def test_type_names_are_read(text: str, schema: dict[str, Any], is_optional: bool) -> None:
    assert read_type(text) == (schema, is_optional)


@given(st.text(alphabet="Listr[], |optionalUn.", max_size=80))
def test_no_type_name_is_too_odd(text: str) -> None:
    assert isinstance(read_type(text).schema, dict)


LOOSE: list[tuple[str, str]] = [
    (
        '{"type": "dict", "properties": {"x": {"type": "float"}}, "required": null}',
        '{"type": "object", "properties": {"x": {"type": "number"}}}',
    ),
    (
        '{"properties": {"x": {"type": "str", "required": true}}, "required": ["x", "y"]}',
        '{"properties": {"x": {"type": "string"}}, "required": ["x"]}',
    ),
    (
        '{"type": "array", "items": {"type": "dict"}}',
        '{"type": "array", "items": {"type": "object"}}',
    ),
    ('{"type": "integer", "default": ""}', '{"type": "integer"}'),
    ('{"type": "integer", "default": 2}', '{"type": "integer", "default": 2}'),
    ('{"type": "string", "enum": [], "description": null}', '{"type": "string"}'),
    (
        '{"type": ["int", "null"], "enum": [1, null]}',
        '{"type": ["integer", "null"], "enum": [1, null]}',
    ),
    ('{"type": "thing", "anyOf": [{"type": "str"}]}', '{"anyOf": [{"type": "string"}]}'),
    ('{"$ref": "#/$defs/a", "default": 3}', '{"$ref": "#/$defs/a", "default": 3}'),
    (
        '{"minimum": 0, "type": "int", "title": "T"}',
        '{"minimum": 0, "type": "integer", "title": "T"}',
    ),
]


@pytest.mark.parametrize(("loose", "clean"), LOOSE)
def test_loose_schemas_become_json_schema(loose: str, clean: str) -> None:
    assert json.dumps(clean_schema(json.loads(loose))) == clean


def test_a_parameter_may_be_called_properties() -> None:
    flat = {"properties": {"type": "str", "description": "Which."}}
    (spec,) = read_tools([{"name": "f", "parameters": flat}]).specs
    assert spec.parameters == flat_schema(flat)
    assert spec.parameters["properties"]["properties"]["type"] == "string"


def test_names_are_made_plain_and_may_not_meet() -> None:
    tools = read_tools([{"name": "Get it/now (fast)"}])
    assert tools.specs[0].name == tools.name("Get it/now (fast)") == "Get_it_now_fast_"
    with pytest.raises(RowRefused, match="two different tools are called 'a_b'"):
        read_tools([{"name": "a b"}, {"name": "a/b", "description": "other"}])
