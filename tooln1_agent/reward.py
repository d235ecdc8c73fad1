"""The reward: 1.0 if a completion is well formed and calls what its target asks for, else 0.0.

Binary and rule-based, after Tool-N1 (arXiv 2505.00024, section 3.2). The trainer, the gate and
the online score all call `score`; it reads the completion alone, never the prompt.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from tool_registry.calls import ToolCall
from tool_registry.tool import ToolSpec
from tooln1_agent.examples import AnyCall, Exact, NoCall, Possible, Target
from tooln1_agent.parsing import Reply, parse
from tooln1_agent.possible import matches_possible


class Reward(NamedTuple):
    """0.0 or 1.0, and why, in words a log can count ("format: …" or "calls: …")."""

    value: float
    reason: str


RIGHT = Reward(1.0, "right")


def score(text: str, *, tools: Sequence[ToolSpec], target: Target) -> Reward:
    """Score one completion (without its prompt) against its target. Never raises on any text."""
    return score_reply(parse(text), tools=tools, target=target)


def score_reply(reply: Reply, *, tools: Sequence[ToolSpec], target: Target) -> Reward:
    """Score a completion that has been parsed already."""
    if reply.faults:
        return Reward(0.0, f"format: {reply.faults[0]}")
    return judge(reply.calls, tools=tools, target=target)


def judge(calls: Sequence[ToolCall], *, tools: Sequence[ToolSpec], target: Target) -> Reward:
    """Judge the calls alone, whatever the format of the reply that held them."""
    match target:
        case NoCall():
            return RIGHT if not calls else Reward(0.0, "calls: none was expected")
        case AnyCall():
            return RIGHT if calls else Reward(0.0, "calls: one was expected")
        case Exact(alternatives=alternatives):
            return _judge_exact(calls, tools, alternatives)
        case Possible():
            wrong = matches_possible(calls, tools=tools, target=target)
            return RIGHT if wrong is None else Reward(0.0, f"calls: {wrong}")


def _judge_exact(
    calls: Sequence[ToolCall],
    tools: Sequence[ToolSpec],
    alternatives: Sequence[Sequence[ToolCall]],
) -> Reward:
    specs = {spec.name: spec for spec in tools}
    made = Counter(canonical_call(call, specs) for call in calls)
    wanted = [Counter(canonical_call(call, specs) for call in way) for way in alternatives]
    if made in wanted:
        return RIGHT
    if not calls:
        return Reward(0.0, "calls: one was expected")
    names = sorted(call.name for call in calls)
    if all(names != sorted(call.name for call in way) for way in alternatives):
        return Reward(0.0, "calls: other tools were expected")
    return Reward(0.0, "calls: other arguments were expected")


def canonical_call(call: ToolCall, specs: dict[str, ToolSpec]) -> str:
    """Write a call so that equal calls are equal texts: defaults filled in, numbers by value."""
    spec = specs.get(call.name)
    arguments = call.arguments if spec is None else with_defaults(call.arguments, spec.parameters)
    return json.dumps([call.name, _by_value(arguments)], sort_keys=True)


def with_defaults(arguments: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """Add the schema's defaults for the properties that are left out."""
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return arguments
    defaults = {
        name: prop["default"]
        for name, prop in properties.items()
        if isinstance(prop, dict) and "default" in prop and name not in arguments
    }
    return {**defaults, **arguments}


def _by_value(value: Any) -> Any:
    """Make 2 and 2.0 the same; True stays apart from 1, and a string from a number."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _by_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_by_value(item) for item in value]
    return value
