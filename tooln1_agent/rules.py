"""Rules: what a `Verify` target asks of the results of calls, as functions over data.

A rule is told what was called, what came back and what is wanted, and says whether that is right.
It runs nothing itself: whoever has results asks it, be they recorded or fresh.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

from tool_registry.calls import ToolCall, ToolResult
from tool_registry.errors import InvalidTool
from tool_registry.tool import ToolSpec
from tool_registry.validation import check_spec, validate_arguments
from tooln1_agent.errors import ConfigError

log = logging.getLogger("tooln1_agent.rules")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a rule judges: the results of the calls of one reply, in the order of the calls."""

    results: tuple[ToolResult, ...]
    """At least one; each with the call as it ran."""
    given: Mapping[str, Any] = field(default_factory=dict)
    """Of a target, its `given`; of a logged turn `{"messages": [{"role", "content"}, …]}`."""

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """Return what was called."""
        return tuple(result.call for result in self.results)

    def as_json(self) -> dict[str, Any]:
        """Return the results as JSON; content that is JSON text is read."""
        return {
            "calls": [
                {
                    "name": result.call.name,
                    "arguments": result.call.arguments,
                    "ok": result.ok,
                    "content": _read(result.content),
                }
                for result in self.results
            ]
        }


Rule = Callable[[Outcome], bool | str | None]
"""True where the outcome is right; False, or what is wrong with it; None: nothing to say."""


class Opinion(NamedTuple):
    """What a rule said of an outcome."""

    right: bool | None
    """None where it has nothing to say, or failed."""
    reason: str


def ask(name: str, rule: Rule, outcome: Outcome) -> Opinion:
    """Return what a rule says of an outcome; one that fails says nothing, and is logged."""
    try:
        said = rule(outcome)
        right = None if said is None else not isinstance(said, str) and bool(said)
    except Exception as error:  # a rule is the operator's code, as a tool is
        log.exception("rule %r failed", name)
        return Opinion(None, f"{name!r} failed with {type(error).__name__}: {error!s:.200}")
    if isinstance(said, str):
        return Opinion(right, said)
    return Opinion(right, f"{name!r} {_VERBS[right]} the results")


_VERBS = {True: "accepts", False: "does not accept", None: "says nothing of"}


def schema(outcome: Outcome) -> bool | str:
    """Say whether the outcome as JSON (`Outcome.as_json`) satisfies the given JSON Schema."""
    try:
        problem = validate_arguments(_schema_spec(outcome.given), outcome.as_json())
    except InvalidTool as error:
        return str(error)
    return problem.replace("arguments.calls", "calls") if problem else True


BUILT_IN: Mapping[str, Rule] = MappingProxyType({"schema": schema})
"""The rules that every agent knows."""


def named_rules(functions: Iterable[Rule]) -> Mapping[str, Rule]:
    """Return rules under the names of their functions, beside the built-in ones.

    Raises:
        ConfigError: a function has no name of its own, or two share one.
    """
    named = dict(BUILT_IN)
    for function in functions:
        name = _name(function)
        if not callable(function) or not name.isidentifier():
            raise ConfigError(f"rule {function!r:.80} has no name; write it as a `def`")
        if name in named:
            raise ConfigError(f"two rules are named {name!r}; rename one of the functions")
        named[name] = function
    return MappingProxyType(named)


def given_problem(rule: str, given: Mapping[str, Any]) -> str | None:
    """Say what is wrong with what a built-in rule is given; None of any other rule."""
    if rule != "schema":
        return None
    try:
        check_spec(_schema_spec(given))
    except InvalidTool as error:
        return str(error)
    return None


def _schema_spec(given: Mapping[str, Any]) -> ToolSpec:
    """Return the given schema as the spec of something that takes an outcome."""
    return ToolSpec.from_openai(
        {"function": {"name": "outcome", "parameters": given.get("schema", "no schema is given")}}
    )


def _name(rule: Rule) -> str:
    return getattr(rule, "__name__", "")


def _read(content: str) -> Any:
    try:
        return json.loads(content, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return content


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")
