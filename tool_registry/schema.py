"""From a function's signature and docstring to the JSON Schema of its arguments, and back.

Pydantic does both ways: it writes the schema, and it turns a call's JSON into the objects that the
annotations promise (models, dataclasses, enums, dates).
"""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NotRequired, get_type_hints

from pydantic import ConfigDict, TypeAdapter
from pydantic.errors import PydanticUndefinedAnnotation, PydanticUserError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaWarningKind
from pydantic_core import PydanticSerializationError, to_jsonable_python
from typing_extensions import TypedDict

from tool_registry.context import is_run_context
from tool_registry.docstring import describe
from tool_registry.errors import InvalidTool
from tool_registry.tidy import tidy

__all__ = ["Signature", "read_signature"]


@dataclass(frozen=True)
class Signature:
    """What a function's signature and docstring say, and how to meet them."""

    description: str
    parameters: dict[str, Any]
    context_name: str | None
    """The parameter that receives the ``RunContext``, if there is one."""
    adapter: TypeAdapter[Any]

    def bind(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """The keyword arguments for the function; only those given, so its defaults apply.

        Raises:
            ValidationError: pydantic's, where a value does not fit its annotation.
        """
        bound: dict[str, Any] = self.adapter.validate_python(arguments)
        return bound


def read_signature(fn: Callable[..., Any], *, tool_name: str) -> Signature:
    """Read what a model must know to call ``fn``.

    Raises:
        InvalidTool: a parameter cannot be filled from JSON; names it and says what to do.
    """
    _refuse_what_is_no_plain_function(fn, tool_name)
    parameters = list(inspect.signature(fn).parameters.values())
    hints = _resolved_hints(fn, tool_name)
    context_name = None
    if parameters and is_run_context(hints.get(parameters[0].name)):
        context_name = parameters.pop(0).name
    for parameter in parameters:
        if problem := _problem(parameter, hints):
            raise InvalidTool(f"tool {tool_name!r}: parameter {parameter.name!r} {problem}")
    description = describe(fn)
    adapter = _adapter(tool_name, parameters, hints)
    schema = adapter.json_schema(schema_generator=_QuietSchema)
    properties = schema.setdefault("properties", {})
    for parameter in parameters:
        _annotate(properties[parameter.name], parameter, description.parameters)
    schema.pop("additionalProperties")  # a call with unknown names is refused without saying so
    return Signature(description.text, tidy(schema), context_name, adapter)


class _QuietSchema(GenerateJsonSchema):
    """Leaves a default that JSON cannot express out of the schema, without a warning."""

    ignored_warning_kinds: set[JsonSchemaWarningKind] = {"non-serializable-default"}  # noqa: RUF012


def _refuse_what_is_no_plain_function(fn: Callable[..., Any], tool_name: str) -> None:
    if inspect.isclass(fn):
        raise InvalidTool(f"tool {tool_name!r} is a class; give a function or a bound method")
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise InvalidTool(f"tool {tool_name!r} is a generator; return a list or a string instead")


def _resolved_hints(fn: Callable[..., Any], tool_name: str) -> dict[str, Any]:
    target: Any = inspect.unwrap(fn)
    while isinstance(target, functools.partial):
        target = inspect.unwrap(target.func)
    if not inspect.isroutine(target):
        target = type(target).__call__
    try:
        return get_type_hints(target, include_extras=True)
    except NameError as error:
        raise InvalidTool(
            f"tool {tool_name!r}: annotation names {error.name!r}, which cannot be found;"
            " define or import it at module level, outside `if TYPE_CHECKING:`"
        ) from error
    except (TypeError, SyntaxError) as error:
        raise InvalidTool(f"tool {tool_name!r}: an annotation is not a type: {error}") from error


def _problem(parameter: inspect.Parameter, hints: dict[str, Any]) -> str | None:
    """Why a model's arguments cannot fill this parameter, or None."""
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        return f"is written {parameter}; name each argument, or take one list or dict"
    if parameter.kind is parameter.POSITIONAL_ONLY:
        return "is positional only; arguments are passed by name, so remove the '/'"
    if parameter.name not in hints:
        if parameter.name in ("self", "cls"):
            return "belongs to a class; make the tool from a bound method: tool(thing.method)"
        return f"has no annotation; write {parameter.name}: str, or the type it has"
    if is_run_context(hints[parameter.name]):
        return "is a RunContext; move it to the first place"
    return None


def _adapter(
    tool_name: str, parameters: list[inspect.Parameter], hints: dict[str, Any]
) -> TypeAdapter[Any]:
    """The reader of all arguments at once: a dictionary that holds just what a call gave."""
    fields: dict[str, Any] = {}
    for parameter in parameters:
        annotation = hints[parameter.name]
        try:
            TypeAdapter(annotation).json_schema(schema_generator=_QuietSchema)
        except (PydanticUserError, PydanticUndefinedAnnotation) as error:
            raise InvalidTool(
                f"tool {tool_name!r}: parameter {parameter.name!r} has type {annotation!r}, which"
                " JSON cannot carry; use a JSON type, a pydantic model, a dataclass, an Enum or a"
                " typing_extensions.TypedDict, or pass it as a dependency by RunContext"
            ) from error
        is_required = parameter.default is parameter.empty
        fields[parameter.name] = annotation if is_required else NotRequired[annotation]
    make: Any = TypedDict  # its fields are known at run time only
    arguments = make("arguments", fields)
    arguments.__pydantic_config__ = ConfigDict(extra="forbid")
    return TypeAdapter(arguments)


def _annotate(
    schema: dict[str, Any], parameter: inspect.Parameter, descriptions: dict[str, str]
) -> None:
    """Add the docstring's words and the default, unless the annotation brought its own."""
    if text := descriptions.get(parameter.name):
        schema.setdefault("description", text)
    if parameter.default is not parameter.empty:
        try:
            schema.setdefault("default", to_jsonable_python(parameter.default))
        except PydanticSerializationError:
            return  # a sentinel, say: optional, but nothing to show
