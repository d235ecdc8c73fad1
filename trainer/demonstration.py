"""Replies to imitate: what a label asks for, written as the model would write it.

A reply has a thought and the calls of the label; where the label leaves a choice, the first way.
Labels that name no calls, any call or a rule on the outcome, can only be learned from by trying.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from tool_registry.calls import ToolCall
from tooln1_agent.codec import Codec
from tooln1_agent.examples import Exact, Example, NoCall, Possible, PossibleCall
from tooln1_agent.parsing import parse
from tooln1_agent.possible import matches_possible
from tooln1_agent.prompt import calls_text, ours, theirs
from tooln1_agent.reward import Score
from trainer.rollout import Group, Rollout, prompt_ids


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A prompt and the reply to imitate."""

    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]


def gold_calls(example: Example) -> tuple[ToolCall, ...] | None:
    """Return calls that meet an example's label, none where nothing fits; None where it names none.

    Of several ways the first; of acceptable values the first that is one ("" is none).
    """
    match example.target:
        case Exact(alternatives=alternatives):
            return tuple(alternatives[0])
        case NoCall():
            return ()
        case Possible(calls=calls) as target:
            chosen = tuple(map(_first_way, calls))
            problem = matches_possible(chosen, tools=example.tools, target=target)
            return chosen if problem is None else None
        case _:
            return None


def without_calls(examples: Sequence[Example]) -> dict[str, int]:
    """Count the examples that cannot be imitated, by the kind of their target."""
    kinds = (example.target.kind for example in examples if gold_calls(example) is None)
    return dict(Counter[str](kinds).most_common())


def demonstrations(
    examples: Sequence[Example], codec: Codec, *, groups: Sequence[Group] = ()
) -> list[Demonstration]:
    """Write the reply that each example's label asks for, where it asks for one.

    Args:
        groups: rollouts of each example to take a thought from, of a right one if there is one.
    """
    made = []
    for number, example in enumerate(examples):
        calls = gold_calls(example)
        if calls is None:
            continue
        thought = (_own_thought(groups[number]) if groups else None) or short_thought(calls)
        opening, closing = ours("<think>"), ours("</think>\n<tool_call>")
        reply = [opening, theirs(thought), closing, theirs(calls_text(calls)), ours("</tool_call>")]
        ids = (*codec.encode(reply), codec.end_id)
        made.append(Demonstration(prompt_ids(example, codec), ids))
    return made


def with_gold(
    groups: Sequence[Group], codec: Codec, *, score: Score, max_tokens: int
) -> list[Group]:
    """Have each group that is all wrong joined by the reply that its label asks for, if it names
    calls: after a thought of the group's own, so that little but the calls is foreign.

    Such a group would be flat, and a policy that is sure of a wrong reply would never learn another
    ("Learning to reason under off-policy guidance", arXiv 2504.14945). The reply has no probability
    that it was drawn with, so nothing corrects for whose it is.

    Args:
        max_tokens: longest reply that may join.
    """
    return [
        replace(group, shown=_shown(group, codec, score=score, max_tokens=max_tokens))
        if max(group.rewards) == 0.0
        else group
        for group in groups
    ]


def _shown(group: Group, codec: Codec, *, score: Score, max_tokens: int) -> Rollout | None:
    example = group.example
    for demonstration in demonstrations([example], codec, groups=[group]):
        ids = demonstration.completion_ids
        text = codec.decode(ids)
        reward = score(text, tools=example.tools, target=example.target)
        if reward.value > 0 and len(ids) <= max_tokens:
            return Rollout(ids, (), text, reward, truncated=False)
    return None


def short_thought(calls: Sequence[ToolCall]) -> str:
    """Say in a sentence what the calls do."""
    if not calls:
        return "No function fits this request."
    return f"I call {' and '.join(call.name for call in calls)}."


def _own_thought(group: Group) -> str | None:
    best_first = sorted(group.rollouts, key=lambda rollout: -rollout.reward.value)
    thoughts = (parse(rollout.text).think for rollout in best_first)
    return next((thought for thought in thoughts if thought and thought.strip()), None)


def _first_way(call: PossibleCall) -> ToolCall:
    return ToolCall(name=call.name, arguments=_first_values(call.arguments))


def _first_values(options: dict[str, list[Any]]) -> dict[str, Any]:
    """Choose a value for each name; one that may only be left out is."""
    chosen = {}
    for name, values in options.items():
        value = next((value for value in values if value != ""), None)
        if value is not None:
            chosen[name] = _plain(value)
    return chosen


def _plain(value: Any) -> Any:
    """Choose within objects, whose members are lists of acceptable values in their turn."""
    if isinstance(value, dict):
        lists = {key: item if isinstance(item, list) else [item] for key, item in value.items()}
        return _first_values(lists)
    return [_plain(item) for item in value] if isinstance(value, list) else value
