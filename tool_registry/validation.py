"""Checks a call's arguments against a spec, without the function; schemas may be hostile.

A schema is checked and compiled once per content. Names that the schema does not declare are
refused at the top level even where it does not say ``additionalProperties: false``, for a
function has no place to put them.
"""

import json
from collections.abc import Iterator
from functools import lru_cache
from graphlib import CycleError, TopologicalSorter
from typing import Any
from urllib.parse import unquote

from jsonschema import Draft7Validator, Draft202012Validator, FormatChecker
from jsonschema.exceptions import SchemaError

from tool_registry.dialect import first_errors, validator_for
from tool_registry.errors import InvalidTool
from tool_registry.explain import explain
from tool_registry.subschemas import all_subschemas, json_depth
from tool_registry.tool import ToolSpec

__all__ = ["check_spec", "validate_arguments"]

MAX_SCHEMA_CHARS = 65_536
MAX_SCHEMA_DEPTH = 48
MAX_SCHEMA_PATTERNS = 64
MAX_ARGUMENTS_DEPTH = 32
MAX_ERRORS_SHOWN = 5

_NO_FORMATS = FormatChecker(())  # or patterns would be compiled with `re`
_FOREIGN_REFERENCES = ("$dynamicRef", "$recursiveRef", "$anchor", "$dynamicAnchor")
_OPEN = {
    *("additionalProperties", "patternProperties", "unevaluatedProperties", "dependentSchemas"),
    *("$ref", "if", "allOf", "anyOf", "oneOf"),
}
"""A schema with one of these at its top says for itself which further names it takes."""


def validate_arguments(spec: ToolSpec, arguments: dict[str, Any]) -> str | None:
    """What is wrong with ``arguments``, in words for the model; None if nothing is.

    Raises:
        InvalidTool: the spec's own schema is unusable.
    """
    validator = _compiled(spec)
    if json_depth(arguments) > MAX_ARGUMENTS_DEPTH:
        return f"arguments nest more than {MAX_ARGUMENTS_DEPTH} levels deep; send flatter ones"
    errors = first_errors(validator, arguments, limit=MAX_ERRORS_SHOWN)
    if errors is None:
        return "arguments could not be checked against the tool's schema; send simpler ones"
    return "; ".join(dict.fromkeys(map(explain, errors))) or None


def check_spec(spec: ToolSpec) -> None:
    """Refuse a spec whose schema is invalid, too large, or refers outside itself.

    Raises:
        InvalidTool: names the tool and the place in the schema.
    """
    _compiled(spec)


@lru_cache(maxsize=1024)
def _compiled(spec: ToolSpec) -> Any:
    schema = dict(spec.parameters)
    schema.pop("$id", None)  # it would move the base of local references
    if problem := _size_problem(schema):
        raise InvalidTool(f"tool {spec.name!r}: {problem}")
    is_draft_7 = "draft-07" in str(schema.get("$schema", ""))
    metaschema = Draft7Validator if is_draft_7 else Draft202012Validator
    try:
        metaschema.check_schema(schema, format_checker=_NO_FORMATS)
    except SchemaError as error:
        where = "/".join(map(str, error.absolute_path))
        raise InvalidTool(
            f"tool {spec.name!r}: parameters/{where} is not valid JSON Schema: {error.message:.200}"
        ) from error
    if problem := _content_problem(schema):
        raise InvalidTool(f"tool {spec.name!r}: {problem}")
    if "properties" in schema and not _OPEN & schema.keys():
        schema["additionalProperties"] = False
    return validator_for(schema)


def _size_problem(schema: dict[str, Any]) -> str | None:
    """Asked before anything walks the schema."""
    if (depth := json_depth(schema)) > MAX_SCHEMA_DEPTH:
        return f"parameters nest {depth} levels deep; at most {MAX_SCHEMA_DEPTH}"
    if (size := len(json.dumps(schema))) > MAX_SCHEMA_CHARS:
        return f"parameters take {size} characters of JSON; at most {MAX_SCHEMA_CHARS}"
    return None


def _content_problem(schema: dict[str, Any]) -> str | None:
    """Asked of a schema that is valid by itself: what it refers to, how much it can cost."""
    parts = all_subschemas(schema)
    known = {id(part) for part in parts}
    in_place: dict[int, list[int]] = {}
    patterns = 0
    for part in parts:
        if "$id" in part or any(key in part for key in _FOREIGN_REFERENCES):
            return "parameters use $id, $anchor or $dynamicRef; write local $ref instead"
        reference = part.get("$ref")
        if reference is not None and id(_target(schema, reference)) not in known:
            return f"parameters refer to {reference!r:.100}, which is no schema inside them"
        in_place[id(part)] = [id(sub) for sub in _in_place(schema, part)]
        patterns += len(part.get("patternProperties", ())) + ("pattern" in part)
    if patterns > MAX_SCHEMA_PATTERNS:
        return f"parameters hold {patterns} patterns; at most {MAX_SCHEMA_PATTERNS}"
    try:
        TopologicalSorter(in_place).prepare()
    except CycleError:
        return "parameters hold a schema that is defined as itself; let it refer to a part instead"
    return None


def _in_place(schema: dict[str, Any], part: dict[str, Any]) -> Iterator[Any]:
    """The schemas that apply to the same value as ``part``; a cycle among them never ends."""
    if "$ref" in part:
        yield _target(schema, part["$ref"])
    for key in ("allOf", "anyOf", "oneOf"):
        yield from part.get(key, ())
    yield from (part[key] for key in ("not", "if", "then", "else") if key in part)
    for key in ("dependentSchemas", "dependencies"):
        yield from part.get(key, {}).values()


def _target(schema: dict[str, Any], reference: str) -> Any:
    """What a local reference points at; None for a foreign or a dangling one."""
    if reference != "#" and not reference.startswith("#/"):
        return None
    found: Any = schema
    for part in unquote(reference).split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list):
            found = dict(zip(map(str, range(len(found))), found, strict=True))
        if not isinstance(found, dict):
            return None
        found = found.get(name)
    return found
