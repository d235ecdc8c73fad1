"""Labelled interactions to examples, and a count of every one that was left out and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from tool_registry.tool import ToolSpec
from tooln1_agent.examples import (
    HOLDOUT_SOURCES,
    STRENGTH,
    Example,
    LabelEvent,
    NoCall,
    Source,
    Verify,
    called_tools,
    effective_target,
    example_id,
    place_of,
    split_at,
)
from tooln1_agent.parsing import Reply
from tooln1_agent.replay.labels import renewed_tools, target_problem
from tooln1_agent.transcript import Interaction, prompt_of_turn

Skipped = Literal[
    "no_train",  # whoever asked did not allow training on it
    "no_target",  # its labels leave nothing positive: it was only rejected
    "answer_after_results",  # "no call" after tool results: any text would be right
    "unfit_target",  # a number in it was redacted, and its tool takes no text there
    "weak_in_holdout",  # a hindsight or implicit label is not sure enough to judge by
    "tool_changed",  # a tool that it calls is gone or has another fingerprint now
    "verify_without_agent",  # only running the calls tells, and no agent is there to run them
    "unknown_rule",  # the agent has no rule of that name
    "duplicate",  # the same prompt with the same target is there already
    "conflict",  # the same prompt is there with another target, stronger or newer
]

_NOT_SERVED = Reply(faults=("empty_reply",))
"""Stands for the reply of an imported prompt: nothing that could be accepted."""


@dataclass(frozen=True, slots=True)
class ExampleSet:
    """The examples of a store, oldest label first, and what was left out."""

    examples: tuple[Example, ...]
    skipped: dict[Skipped, int] = field(default_factory=dict)
    """How many labelled turns gave no example, by reason."""

    def judgeable(self, rules: Collection[str] | None) -> ExampleSet:
        """Return the set without the `Verify` examples that cannot be judged.

        Args:
            rules: names of the rules that are known; None where there is no agent to run calls.
        """
        skipped = Counter[Skipped](self.skipped)
        kept = []
        for example in self.examples:
            if not isinstance(example.target, Verify) or example.target.rule in (rules or ()):
                kept.append(example)
            else:
                skipped["verify_without_agent" if rules is None else "unknown_rule"] += 1
        return ExampleSet(tuple(kept), dict(skipped))

    @property
    def by_source(self) -> dict[Source, int]:
        """Return how many examples rest on each kind of label."""
        return dict(Counter(example.source for example in self.examples))

    @property
    def by_tool(self) -> dict[str, int]:
        """Return in how many examples each tool is to be called."""
        return dict(Counter(name for e in self.examples for name in called_tools(e.target)))

    @property
    def calls(self) -> int:
        """Return how many examples ask for a call."""
        return sum(example.is_call for example in self.examples)

    @property
    def no_calls(self) -> int:
        """Return how many examples ask for no call."""
        return len(self.examples) - self.calls


class Made(NamedTuple):
    """What the labels of one turn come to."""

    interaction: str
    turn: int
    events: tuple[LabelEvent, ...]
    example: Example | None
    """None where there is none whatever the tools are now."""
    skipped: Skipped | None
    """Why it is not used; None if it is, but for other turns with the same prompt."""


def collect_examples(made: Iterable[Made]) -> ExampleSet:
    """Gather the examples of labelled turns, one for each prompt."""
    kept: dict[str, Example] = {}
    skipped: Counter[Skipped] = Counter()
    for _, _, _, example, reason in made:
        if reason is not None or example is None:
            skipped[reason or "no_target"] += 1
        elif (other := kept.get(example.id)) is None:
            kept[example.id] = example
        else:
            skipped["duplicate" if other.target == example.target else "conflict"] += 1
            kept[example.id] = max(other, example, key=_weight)
    examples = sorted(kept.values(), key=lambda e: (e.created_at, e.id))
    return ExampleSet(tuple(examples), dict(skipped))


def examples_of_turns(
    labelled: Iterable[tuple[Interaction, Sequence[LabelEvent]]],
    *,
    holdout_share: float,
    tools_now: Sequence[ToolSpec] | None,
) -> Iterator[Made]:
    """Yield what comes of each labelled turn.

    Args:
        labelled: each interaction with its label events.
        holdout_share: between 0 and 1; see `split_of`.
        tools_now: the tools as they are today; None where that is not known (client-side tools).
    """
    for interaction, events in labelled:
        for turn in sorted({event.turn for event in events}):
            own = tuple(event for event in events if event.turn == turn)
            found = _example(interaction, turn, own, holdout_share=holdout_share)
            example = found if isinstance(found, Example) else None
            reason = None if isinstance(found, Example) else found
            if example is not None and changed_tools(example, tools_now):
                reason = "tool_changed"
            yield Made(interaction.id, turn, own, example, reason)


def changed_tools(example: Example, tools_now: Sequence[ToolSpec] | None) -> tuple[str, ...]:
    """Return the tools that the target calls, or may call, that are gone or not the same now."""
    if tools_now is None:
        return ()
    now = {spec.name: spec.fingerprint for spec in tools_now}
    then = {spec.name: spec.fingerprint for spec in example.tools}
    used = set(then) if isinstance(example.target, Verify) else called_tools(example.target)
    return tuple(sorted(name for name in used if now.get(name) != then.get(name)))


def _example(
    interaction: Interaction, turn: int, events: Sequence[LabelEvent], *, holdout_share: float
) -> Example | Skipped:
    if interaction.no_train:
        return "no_train"
    served = turn < len(interaction.turns)
    reply = interaction.turns[turn].reply if served else _NOT_SERVED
    label = effective_target(events, reply)
    if label is None:
        return "no_target"
    messages = prompt_of_turn(interaction, turn)
    if isinstance(label.target, NoCall) and messages and messages[-1].role == "tool":
        return "answer_after_results"
    tools = renewed_tools(interaction.tools, label.renewed)
    if target_problem(label.target, tools):
        return "unfit_target"
    place = interaction.split_place
    split = split_at(place_of(messages) if place is None else place, holdout_share=holdout_share)
    if split == "holdout" and label.source not in HOLDOUT_SOURCES:
        return "weak_in_holdout"
    return Example(
        id=example_id(messages, tools),
        messages=messages,
        tools=tools,
        target=label.target,
        split=split,
        source=label.source,
        interaction=interaction.id,
        turn=turn,
        created_at=label.created_at,
    )


def _weight(example: Example) -> tuple[int, object]:
    return STRENGTH[example.source], example.created_at
