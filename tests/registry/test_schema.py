"""What a model is shown of a Python function."""

import dataclasses
import datetime
import enum
import functools
from typing import Annotated, Any, Literal, TypedDict

import pytest
import typing_extensions
from pydantic import BaseModel, Field

from tool_registry import RunContext, tool
from tool_registry.errors import InvalidTool


class Size(enum.Enum):
    SMALL = "S"
    LARGE = "L"


class Node(BaseModel):
    title: str
    children: list["Node"] = []


class Address(BaseModel):
    """Where someone lives."""

    street: str = Field(description="With the number.")
    size: Size | None = None


@dataclasses.dataclass
class Point:
    x: int
    y: int = 2


class Pair(typing_extensions.TypedDict):
    left: int


class OldPair(TypedDict):
    left: int


def properties(fn: Any) -> dict[str, Any]:
    return tool(fn).spec.parameters["properties"]


def google(city: str, days: int = 3) -> str:
    """Forecast the weather.

    Rain included.

    Args:
        city: Name of the city,
            in English.
        days: How many days.

    Returns:
        Text.
    """
    return city


def numpy(city: str, days: int = 3) -> str:
    """Forecast the weather.

    Rain included.

    Parameters
    ----------
    city : str
        Name of the city,
        in English.
    days
        How many days.

    Returns
    -------
    str
        Text.
    """
    return city


def sphinx(city: str, days: int = 3) -> str:
    """Forecast the weather.

    Rain included.

    :param city: Name of the city,
        in English.
    :param days: How many days.
    :returns: Text.
    """
    return city


@pytest.mark.parametrize("fn", [google, numpy, sphinx])
def test_all_docstring_styles_say_the_same(fn):
    spec = tool(fn).spec
    assert spec.description == "Forecast the weather.\n\nRain included."
    assert spec.parameters == {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "Name of the city, in English."},
            "days": {"type": "integer", "description": "How many days.", "default": 3},
        },
        "required": ["city"],
    }


def test_reading_docstrings_is_silent(caplog, capsys):
    tool(numpy)
    assert (caplog.text, capsys.readouterr().err) == ("", "")


def test_a_function_without_arguments_or_docstring():
    def ping():
        return "pong"

    spec = tool(ping).spec
    assert (spec.description, spec.parameters) == ("", {"type": "object", "properties": {}})


@pytest.mark.parametrize(
    ("annotation", "schema"),
    [
        (float, {"type": "number"}),
        (list[str], {"type": "array", "items": {"type": "string"}}),
        (dict[str, bool], {"type": "object", "additionalProperties": {"type": "boolean"}}),
        (Any, {}),
        (Size, {"type": "string", "enum": ["S", "L"]}),
        (Literal["a", "b"] | None, {"type": ["string", "null"], "enum": ["a", "b", None]}),
        (int | None, {"type": ["integer", "null"]}),
        (int | str, {"anyOf": [{"type": "integer"}, {"type": "string"}]}),
        (datetime.date | None, {"type": ["string", "null"], "format": "date"}),
        (
            Annotated[int, Field(ge=1, description="n")],
            {"type": "integer", "description": "n", "minimum": 1},
        ),
    ],
)
def test_annotations_become_short_schemas(annotation, schema):
    def fn(value):
        return value

    fn.__annotations__["value"] = annotation
    assert properties(fn)["value"] == schema


def test_typed_dictionaries_are_objects():
    def fn(pair: Pair) -> None:
        pass

    found = properties(fn)["pair"]
    assert (found["type"], found["properties"]) == ("object", {"left": {"type": "integer"}})


def test_nested_models_are_written_in_place_without_titles():
    def move(to: Address, at: Point = Point(1)) -> str:  # noqa: B008
        """Move.

        Args:
            to: The new place.
        """
        return ""

    found = properties(move)
    assert found["to"] == {
        "type": "object",
        "description": "The new place.",
        "properties": {
            "street": {"type": "string", "description": "With the number."},
            "size": {"type": ["string", "null"], "enum": ["S", "L", None], "default": None},
        },
        "required": ["street"],
    }
    assert found["at"]["default"] == {"x": 1, "y": 2}


def test_a_recursive_model_keeps_its_definition_and_its_field_called_title():
    def plant(tree: Node) -> str:
        return ""

    parameters = tool(plant).spec.parameters
    assert parameters["properties"] == {"tree": {"$ref": "#/$defs/Node"}}
    assert parameters["$defs"]["Node"]["properties"] == {
        "title": {"type": "string"},
        "children": {"type": "array", "items": {"$ref": "#/$defs/Node"}, "default": []},
    }


def test_an_annotation_speaks_before_the_docstring():
    def fn(n: Annotated[int, Field(description="From the field.")]) -> None:
        """Do.

        Args:
            n: From the docstring.
        """

    assert properties(fn)["n"]["description"] == "From the field."


def test_a_default_that_json_lacks_makes_the_parameter_optional():
    def fn(n: int = object()) -> None:  # type: ignore[assignment]
        pass

    assert tool(fn).spec.parameters == {"type": "object", "properties": {"n": {"type": "integer"}}}


def test_names_that_pydantic_models_reserve_are_fine():
    def fn(schema: str, json: str, model_config: str, _private: str = "") -> None:
        pass

    assert list(properties(fn)) == ["schema", "json", "model_config", "_private"]


def test_the_context_is_not_shown():
    def plain(ctx: RunContext, n: int) -> int:
        return n

    def typed(ctx: RunContext[dict[str, int]], n: int) -> int:
        return n

    assert list(properties(plain)) == list(properties(typed)) == ["n"]


def test_bound_methods_partials_and_callable_objects_are_functions():
    class Shop:
        """A shop."""

        def buy(self, item: str) -> str:
            """Buy it."""
            return item

        def __call__(self, item: str) -> str:
            return item

    assert list(properties(Shop().buy)) == ["item"]
    assert list(tool(name="shop")(Shop()).spec.parameters["properties"]) == ["item"]
    forecast = tool(name="soon")(functools.partial(google, days=1))
    assert forecast.spec.description.startswith("Forecast")
    assert forecast.spec.parameters["properties"]["days"]["default"] == 1


def untyped(n):
    pass


def variadic(*numbers: int):
    pass


def positional(n: int, /):
    pass


def unresolved(n: "Missing"):  # noqa: F821
    pass


def opaque(n: memoryview):
    pass


def late_context(n: int, ctx: RunContext):
    pass


def old_dict(n: OldPair):
    pass


def wrong_hint(n: 3):  # type: ignore[valid-type]
    pass


def numbers(n: int):
    yield n


class Thing:
    def method(self, n: int):
        pass


@pytest.mark.parametrize(
    ("fn", "message"),
    [
        (untyped, "'n' has no annotation; write n: str"),
        (variadic, r"'numbers' is written \*numbers"),
        (positional, "'n' is positional only"),
        (unresolved, "'Missing', which cannot be found"),
        (opaque, "'n' has type .*memoryview"),
        (late_context, "'ctx' is a RunContext; move it"),
        (wrong_hint, "'n' has type 3"),
        (old_dict, "typing_extensions.TypedDict"),
        (numbers, "is a generator"),
        (Thing, "is a class"),
        (Thing.method, "bound method"),
        (lambda n: n, "'<lambda>' must be letters"),
    ],
)
def test_what_cannot_be_a_tool_is_refused_with_advice(fn, message):
    with pytest.raises(InvalidTool, match=message):
        tool(fn)
