"""Tools as data sets write them, made into specs: plain names and sound JSON Schema.

Data sets write Python's type names, names with spaces, `null` where nothing is required, and
defaults of the wrong type. What JSON Schema does not know is left out, so that a schema says less
rather than something false.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from tool_registry.errors import InvalidTool
from tool_registry.tool import ToolSpec
from tool_registry.validation import validate_arguments
from tooln1_agent.datasets.python_types import json_type, read_type
from tooln1_agent.datasets.rows import BAD_TOOL
from tooln1_agent.errors import RowRefused

_NOT_PLAIN = re.compile(r"[^A-Za-z0-9_.-]+")
_MAX_DEPTH = 30


class Tools(NamedTuple):
    """The tools of a row."""

    specs: tuple[ToolSpec, ...]
    names: dict[str, str]
    """How each tool is called in the file, and in its spec."""

    def name(self, written: str) -> str:
        """Return the spec's name for a name in the file."""
        return self.names.get(written) or plain_name(written)


def read_tools(functions: Iterable[dict[str, Any]], *, as_written: bool = False) -> Tools:
    """Read function descriptions, bare or in OpenAI's envelope.

    Args:
        as_written: take schemas as they are, for a form whose schemas are JSON Schema.

    Raises:
        RowRefused: one cannot be read, or two different ones have one name.
    """
    specs: dict[str, ToolSpec] = {}
    names: dict[str, str] = {}
    for function in functions:
        inner = function.get("function")
        function = inner if isinstance(inner, dict) else function
        written = function.get("name")
        if not isinstance(written, str) or not (name := plain_name(written)):
            raise RowRefused(BAD_TOOL, f"name: expected a name, got {written!r:.80}")
        spec = _spec(name, function, as_written=as_written)
        if specs.setdefault(name, spec) != spec:
            raise RowRefused(BAD_TOOL, f"two different tools are called {name!r}")
        names[written] = name
    return Tools(tuple(specs.values()), names)


def plain_name(written: str) -> str:
    """Return a tool's name with what a spec does not allow in it replaced by underscores."""
    return _NOT_PLAIN.sub("_", written.strip())


def clean_schema(schema: Any, *, depth: int = 0) -> dict[str, Any]:
    """Return what a schema says in terms that JSON Schema knows, its keys in their order."""
    if not isinstance(schema, dict) or depth > _MAX_DEPTH:
        return {}
    cleaned: dict[str, Any] = {}
    for name, value in schema.items():
        cleaned |= _keyword(name, value, schema, depth=depth + 1)
    return _without_wrong_default(cleaned)


def flat_schema(parameters: dict[str, Any]) -> dict[str, Any]:
    """Make a schema of a flat map: a parameter's name to its type, description and default.

    What has no default and is not called optional is required.
    """
    properties: dict[str, Any] = {}
    required = []
    for name, said in parameters.items():
        if not isinstance(said, dict):
            raise RowRefused(BAD_TOOL, f"parameter {name!r}: expected an object, got {said!r:.80}")
        written = said.get("type")
        kind = read_type(written if isinstance(written, str) else "")
        shown = {k: said[k] for k in ("description", "default", "enum") if said.get(k) is not None}
        properties[name] = clean_schema({**kind.schema, **shown})
        if not kind.is_optional and "default" not in said:
            required.append(name)
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    return {**schema, "required": required} if required else schema


def _spec(name: str, function: dict[str, Any], *, as_written: bool) -> ToolSpec:
    parameters = function.get("parameters")
    description = function.get("description")
    if parameters is None:
        parameters = {}
    if not isinstance(parameters, dict):
        raise RowRefused(BAD_TOOL, f"{name!r}: parameters: expected an object")
    if as_written:
        schema = parameters
    elif _is_schema(parameters):
        schema = {**clean_schema(parameters), "type": "object"}
    else:
        bare = not any(isinstance(said, dict) for said in parameters.values())
        schema = {} if bare else flat_schema(parameters)
    said = {"name": name, "description": description if isinstance(description, str) else ""}
    try:
        return ToolSpec.from_openai({"function": {**said, "parameters": schema}})
    except InvalidTool as error:
        raise RowRefused(BAD_TOOL, str(error)) from error


def _is_schema(parameters: dict[str, Any]) -> bool:
    """Whether this is a schema and no flat map, which may hold a parameter called "properties"."""
    known = parameters.get("properties")
    if not isinstance(known, dict):
        return False
    return isinstance(parameters.get("type"), str) or all(
        isinstance(v, dict) for v in known.values()
    )


def _keyword(name: str, value: Any, schema: dict[str, Any], *, depth: int) -> dict[str, Any]:
    """Return one keyword as it should read; nothing where it says nothing."""
    match name, value:
        case "type", _:
            return _type(value)
        case "properties", dict():
            return {name: {k: clean_schema(v, depth=depth) for k, v in value.items()}}
        case "items", dict():
            return {name: clean_schema(value, depth=depth)}
        case "anyOf" | "oneOf" | "allOf", [_, *_]:
            return {name: [clean_schema(each, depth=depth) for each in value]}
        case "required", list():
            known = schema.get("properties")
            kept = [each for each in value if isinstance(known, dict) and each in known]
            return {name: list(dict.fromkeys(kept))} if kept else {}
        case ("enum", [_, *_]) | ("description", str()):
            return {name: value}
        case (("properties" | "items" | "anyOf" | "oneOf" | "allOf" | "required" | "enum"), _):
            return {}
        case "description", _:
            return {}
        case _:
            return {name: value}


def _type(written: Any) -> dict[str, Any]:
    if isinstance(written, list):
        known = [kind for each in written if (kind := json_type(each))]
        return {"type": known} if known and len(known) == len(written) else {}
    return read_type(written).schema if isinstance(written, str) else {}


def _without_wrong_default(schema: dict[str, Any]) -> dict[str, Any]:
    """Drop a default that the schema itself refuses: it would stand in for a left-out argument."""
    if "default" not in schema:
        return schema
    rest = {name: value for name, value in schema.items() if name not in ("default", "description")}
    spec = ToolSpec(name="default", parameters={"properties": {"default": rest}})
    try:
        fits = validate_arguments(spec, {"default": schema["default"]}) is None
    except InvalidTool:  # say, it refers to another part; whoever uses the schema will be told
        return schema
    return schema if fits else {name: schema[name] for name in schema if name != "default"}
