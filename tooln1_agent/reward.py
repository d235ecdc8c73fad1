"""The reward: 1.0 if a completion is well formed and calls what its target asks for, else 0.0.

Binary and rule-based, after Tool-N1 (arXiv 2505.00024, section 3.2). The trainer, the gate and
the online score all call `score`; it reads the completion alone, never the prompt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

from tool_registry.calls import ToolCall, ToolResult
from tool_registry.tool import ToolSpec
from tooln1_agent.equality import canonical_call
from tooln1_agent.examples import AnyCall, Exact, NoCall, Possible, Target, Verify
from tooln1_agent.parsing import Reply, parse
from tooln1_agent.possible import matches_possible
from tooln1_agent.rules import BUILT_IN, Outcome, Rule, ask
from tooln1_agent.tool_n1 import published_calls, published_match


class Reward(NamedTuple):
    """0.0 or 1.0, and why, in words a log can count ("format: …", "calls: …" or "rule: …")."""

    value: float
    reason: str


RIGHT = Reward(1.0, "right")


class Score(Protocol):
    """A reward function: `score`, or one of its form."""

    def __call__(self, text: str, *, tools: Sequence[ToolSpec], target: Target) -> Reward: ...


def score(
    text: str,
    *,
    tools: Sequence[ToolSpec],
    target: Target,
    format: Literal["strict", "tool_n1"] = "strict",  # noqa: A002
) -> Reward:
    """Score one completion (without its prompt) against its target. Never raises on any text.

    A `Verify` target is never met: nothing is run here (`tooln1_agent.verifier` runs the calls).

    Args:
        format: "strict" is the grammar of `parsing`; "tool_n1" the reward that NVlabs/Tool-N1
            published, quirks included, for reproduction studies (`tool_n1`).
    """
    if format == "tool_n1":
        return _score_as_published(text, tools=tools, target=target)
    return score_reply(parse(text), tools=tools, target=target)


def score_reply(reply: Reply, *, tools: Sequence[ToolSpec], target: Target) -> Reward:
    """Score a completion that has been parsed already."""
    if reply.faults:
        return Reward(0.0, f"format: {reply.faults[0]}")
    return judge(reply.calls, tools=tools, target=target)


def judge(
    calls: Sequence[ToolCall],
    *,
    tools: Sequence[ToolSpec],
    target: Target,
    results: Sequence[ToolResult] | None = None,
    rules: Mapping[str, Rule] = BUILT_IN,
) -> Reward:
    """Judge the calls alone, whatever the format of the reply that held them.

    Args:
        results: what came of the calls, in their order; only `Verify` targets ask for them.
        rules: those that `Verify` targets may name.
    """
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
        case Verify():
            return _judge_results(calls, target, results=results, rules=rules)


def _score_as_published(text: str, *, tools: Sequence[ToolSpec], target: Target) -> Reward:
    made = published_calls(text)
    if isinstance(made, str):
        return Reward(0.0, f"format: {made}")
    ways: tuple[tuple[ToolCall, ...], ...]
    match target:
        case Exact(alternatives=alternatives):
            ways = alternatives
        case NoCall():
            ways = ((),)
        case _:  # the reference knows no such targets
            if not all(
                isinstance(i["name"], str) and isinstance(i["arguments"], dict) for i in made
            ):
                return Reward(0.0, "format: an item is no call")
            calls = [ToolCall(name=i["name"], arguments=i["arguments"]) for i in made]
            return judge(calls, tools=tools, target=target)
    if any(published_match(made, way) for way in ways):
        return RIGHT
    return Reward(0.0, "calls: others were expected")


def _judge_results(
    calls: Sequence[ToolCall],
    target: Verify,
    *,
    results: Sequence[ToolResult] | None,
    rules: Mapping[str, Rule],
) -> Reward:
    if not calls:
        return Reward(0.0, "calls: one was expected")
    if results is None:
        return Reward(0.0, "rule: the calls were not run, so there are no results to judge")
    rule = rules.get(target.rule)
    if rule is None:
        return Reward(0.0, f"rule: {target.rule!r} is not known here; known: {', '.join(rules)}")
    opinion = ask(target.rule, rule, Outcome(tuple(results), target.given))
    return RIGHT if opinion.right else Reward(0.0, f"rule: {opinion.reason}")


def _judge_exact(
    calls: Sequence[ToolCall],
    tools: Sequence[ToolSpec],
    alternatives: Sequence[Sequence[ToolCall]],
) -> Reward:
    if any(_are_identical(calls, way) for way in alternatives):
        return RIGHT
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


def _are_identical(calls: Sequence[ToolCall], way: Sequence[ToolCall]) -> bool:
    """Whether the calls are the same down to their spelling: the quick answer, mostly."""
    return len(calls) == len(way) and all(
        call.name == other.name and repr(call.arguments) == repr(other.arguments)
        for call, other in zip(calls, way, strict=True)
    )
