"""The tools of an agent by name: what exists, and whether a call fits it."""

import difflib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tool_registry.calls import ToolCall
from tool_registry.errors import DuplicateTool, UnknownTool
from tool_registry.explain import quoted_names
from tool_registry.repair import repair_arguments
from tool_registry.tool import Tool, ToolSpec, tool
from tool_registry.validation import check_spec, validate_arguments

__all__ = ["Registry"]


class Registry:
    """An unchanging set of tools; plain functions are made tools on the way in.

    Raises:
        DuplicateTool: two tools share a name.
        InvalidTool: a function or a schema cannot be offered to a model.
    """

    def __init__(self, tools: Iterable[Tool | Callable[..., Any]] = ()) -> None:
        """Check every tool now, so that none fails in the middle of a conversation."""
        self._tools: dict[str, Tool] = {}
        for given in tools:
            entry: Tool = given if isinstance(given, Tool) else tool(given)
            if entry.name in self._tools:
                raise DuplicateTool(
                    f"two tools are named {entry.name!r}; rename one with @tool(name=...)"
                )
            check_spec(entry.spec)
            self._tools[entry.name] = entry
        self._specs = tuple(entry.spec for entry in self._tools.values())

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        """What a model is told, in the order the tools were given."""
        return self._specs

    def get(self, name: str) -> Tool:
        """The tool of that name.

        Raises:
            UnknownTool: there is none; the message, fit for a model, says which there are.
        """
        if name not in self._tools:
            raise UnknownTool(self._unknown(name))
        return self._tools[name]

    def validate(self, call: ToolCall) -> tuple[ToolCall, str | None]:
        """The call as it would run, and what is wrong with it in words for the model.

        Lists and objects that came as strings of JSON are decoded in the returned call (see
        ``repair_arguments``). Checks that only the function's own types make (a date that does
        not exist, a pydantic validator) happen when the call is executed.
        """
        if call.name not in self._tools:
            return call, self._unknown(call.name)
        spec = self._tools[call.name].spec
        arguments = repair_arguments(spec, call.arguments)
        if arguments != call.arguments:
            call = call.model_copy(update={"arguments": arguments})
        return call, validate_arguments(spec, arguments)

    def __contains__(self, name: object) -> bool:
        """Whether a tool has that name."""
        return name in self._tools

    def __len__(self) -> int:
        """How many tools there are."""
        return len(self._tools)

    def __iter__(self) -> Iterator[Tool]:
        """The tools, in the order they were given."""
        return iter(self._tools.values())

    def _unknown(self, name: str) -> str:
        if not self._tools:
            return f"unknown tool {quoted_names([name])}; there are no tools"
        close = difflib.get_close_matches(name[:128], self._tools, n=1)
        hint = f"; did you mean {quoted_names(close)}?" if close else ""
        known = quoted_names(list(self._tools))
        return f"unknown tool {quoted_names([name])}{hint}; known: {known}"
