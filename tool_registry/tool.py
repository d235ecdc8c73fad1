"""A tool: the part that can be stored and shown to a model, and the function behind it.

``ToolSpec`` is data and survives the process; ``Tool`` adds the function and how to run it.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any, Generic, Self, overload

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from typing_extensions import ParamSpec, TypeVar

from tool_registry.calls import canonical_json
from tool_registry.errors import InvalidTool
from tool_registry.schema import Signature, read_signature

__all__ = ["MAX_IMPORTED_NAME_CHARS", "MAX_NAME_CHARS", "Tool", "ToolSpec", "tool"]

MAX_NAME_CHARS = 64
"""What hosted APIs accept, hence the limit for tools written here."""
MAX_IMPORTED_NAME_CHARS = 128
"""What a spec from elsewhere (a request, MCP, a data set) may have."""

P = ParamSpec("P", default=...)
R = TypeVar("R", default=Any)

_NAME = re.compile(r"[A-Za-z0-9_.-]+", re.ASCII)


class ToolSpec(BaseModel):
    """What a model is told about a tool. Change one with ``model_copy(update=...)``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    description: str = ""
    parameters: dict[str, Any] = Field(default_factory=lambda: {"type": "object", "properties": {}})
    """JSON Schema of the arguments: an object. This spec owns a copy of what it was given."""

    @field_validator("name")
    @classmethod
    def _name_is_plain(cls, name: str) -> str:
        if problem := _name_problem(name, MAX_IMPORTED_NAME_CHARS):
            raise ValueError(problem)
        return name

    @field_validator("parameters")
    @classmethod
    def _parameters_are_an_object_schema(cls, parameters: dict[str, Any]) -> dict[str, Any]:
        try:
            text = json.dumps(parameters, allow_nan=False, ensure_ascii=False)
            own: dict[str, Any] = json.loads(text.encode())
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"parameters are not JSON: {error}") from error
        if own.setdefault("type", "object") != "object":
            raise ValueError(f'parameters must have "type": "object", not {own["type"]!r:.80}')
        return own

    @cached_property
    def fingerprint(self) -> str:
        """First 16 hex digits of the SHA-256 of name, description and parameters."""
        content = [self.name, self.description, self.parameters]
        return sha256(canonical_json(content).encode()).hexdigest()[:16]

    def __eq__(self, other: object) -> bool:
        """Whether both say the same; unlike dictionaries, canonical text tells 1 from True."""
        return isinstance(other, ToolSpec) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        """Hash of the content, so that specs can be keys."""
        return hash(self.fingerprint)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with ``update`` applied; its fingerprint is computed anew."""
        copy = super().model_copy(update=update, deep=deep)
        copy.__dict__.pop("fingerprint", None)
        return copy

    def to_openai(self) -> dict[str, Any]:
        """The entry of a chat request's ``tools`` list; shares ``parameters``, so do not edit."""
        function = {
            "name": self.name,
            "description": self.description,
            "parameters": self.parameters,
        }
        return {"type": "function", "function": function}

    @staticmethod
    def from_openai(entry: Any) -> "ToolSpec":
        """Read one entry of a chat request's ``tools`` list; keys unknown here are ignored.

        Raises:
            InvalidTool: names the part that is wrong.
        """
        function = entry.get("function") if isinstance(entry, Mapping) else None
        if not isinstance(function, Mapping) or entry.get("type", "function") != "function":
            raise InvalidTool(
                'a tool must be {"type": "function", "function": {"name": ..., "parameters": ...}},'
                f" got {entry!r:.200}"
            )
        fields = ("name", "description", "parameters")
        known = {field: function[field] for field in fields if function.get(field) is not None}
        if known.get("parameters") == {}:
            del known["parameters"]
        return _build(known)


@dataclass(frozen=True)
class Tool(Generic[P, R]):
    """A spec, the function behind it, and how that function may be run."""

    spec: ToolSpec
    fn: Callable[P, R]
    replay_safe: bool = False
    """Whether running it twice does no harm, so that a judge may run it again."""
    timeout_s: float | None = None
    """Time limit of its own, in place of the one given to ``execute``."""
    signature: Signature | None = None
    """How arguments become Python objects; without one they are passed on as they are."""

    def __post_init__(self) -> None:
        """Refuse a time limit that no call could meet."""
        if self.timeout_s is not None and not self.timeout_s > 0:
            raise InvalidTool(f"tool {self.spec.name!r}: timeout_s must be above 0")

    @property
    def name(self) -> str:
        """The name the model calls it by."""
        return self.spec.name

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function itself: no checks, no time limit."""
        return self.fn(*args, **kwargs)


@overload
def tool(fn: Callable[P, R], /) -> Tool[P, R]: ...
@overload
def tool(
    fn: None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    timeout_s: float | None = None,
    replay_safe: bool = False,
) -> Callable[[Callable[P, R]], Tool[P, R]]: ...
def tool(
    fn: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    timeout_s: float | None = None,
    replay_safe: bool = False,
) -> Any:
    """Make a tool of a function, from its signature and docstring; bare or with keywords.

    Raises:
        InvalidTool: the function cannot be described to a model; names the parameter and remedy.
    """

    def decorate(fn: Callable[..., Any]) -> Tool[..., Any]:
        own_name = str(name or getattr(fn, "__name__", ""))
        if problem := _name_problem(own_name, MAX_NAME_CHARS):
            raise InvalidTool(f"{problem}; pass @tool(name=...)")
        signature = read_signature(fn, tool_name=own_name)
        known = {
            "name": own_name,
            "description": description or signature.description,
            "parameters": signature.parameters,
        }
        return Tool(_build(known), fn, replay_safe, timeout_s, signature)

    if fn is not None and not callable(fn):
        raise InvalidTool(f"@tool expects a function, got {fn!r:.80}; options go by keyword")
    return decorate if fn is None else decorate(fn)


def _name_problem(name: str, limit: int) -> str | None:
    if len(name) > limit:
        return f"tool name {name[:40] + '…'!r} has {len(name)} characters; at most {limit}"
    if not _NAME.fullmatch(name):
        return f"tool name {name!r} must be letters, digits, '_', '-' and '.'"
    return None


def _build(fields: dict[str, Any]) -> ToolSpec:
    """The spec, with pydantic's complaint turned into one sentence."""
    try:
        return ToolSpec.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        what = first["msg"].removeprefix("Value error, ")
        raise InvalidTool(f"tool {fields.get('name')!r:.80}: {where}: {what}") from error
