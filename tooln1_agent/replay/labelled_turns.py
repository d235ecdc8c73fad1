"""Each labelled turn by itself: the example that it gives, or why it gives none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

from tool_registry.tool import ToolSpec
from tooln1_agent.effective import Labelled, Rejection, effective_target, rejection_of
from tooln1_agent.examples import (
    HOLDOUT_SOURCES,
    Example,
    LabelEvent,
    NoCall,
    Verify,
    called_tools,
    example_id,
    place_of,
    split_at,
)
from tooln1_agent.messages import Message
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
    "rejected_elsewhere",  # the same calls were rejected for the same prompt, by no weaker word
    "joined",  # accepted calls that stand beside others for the same prompt, as alternatives
    "duplicate",  # the same prompt with the same target is there already
    "conflict",  # the same prompt is there with another target, stronger or newer
]

_NOT_SERVED = Reply(faults=("empty_reply",))
"""Stands for the reply of an imported prompt: nothing that could be accepted."""


class Made(NamedTuple):
    """What the labels of one turn come to."""

    interaction: str
    turn: int
    events: tuple[LabelEvent, ...]
    prompt: str
    """Id of its prompt, as `Example.id`."""
    example: Example | None
    """None where there is none whatever the tools are now."""
    skipped: Skipped | None
    """Why it is not used; None if it is, but for other turns with the same prompt."""
    rejection: Rejection | None
    """Of what the turn did, if that was rejected."""


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
            served = turn < len(interaction.turns)
            reply = interaction.turns[turn].reply if served else _NOT_SERVED
            messages = prompt_of_turn(interaction, turn)
            label = effective_target(own, reply)
            found = _example(interaction, turn, messages, label, holdout_share=holdout_share)
            example = found if isinstance(found, Example) else None
            reason = None if isinstance(found, Example) else found
            if example is not None and changed_tools(example, tools_now):
                reason = "tool_changed"
            yield Made(
                interaction.id,
                turn,
                own,
                prompt=example_id(messages, interaction.tools),
                example=example,
                skipped=reason,
                rejection=rejection_of(own, reply),
            )


def changed_tools(example: Example, tools_now: Sequence[ToolSpec] | None) -> tuple[str, ...]:
    """Return the tools that the target calls, or may call, that are gone or not the same now.

    Where none of the tools on offer has a name of now, they are a client's or a data set's own, of
    which nothing is known; but they cannot be run, as a `Verify` target would have it.
    """
    if tools_now is None:
        return ()
    now = {spec.name: spec.fingerprint for spec in tools_now}
    then = {spec.name: spec.fingerprint for spec in example.tools}
    used = set(then) if isinstance(example.target, Verify) else called_tools(example.target)
    if now.keys().isdisjoint(then) and not isinstance(example.target, Verify):
        return ()
    return tuple(sorted(name for name in used if now.get(name) != then.get(name)))


def _example(
    interaction: Interaction,
    turn: int,
    messages: tuple[Message, ...],
    label: Labelled | None,
    *,
    holdout_share: float,
) -> Example | Skipped:
    if interaction.no_train:
        return "no_train"
    if label is None:
        return "no_target"
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
        imported=interaction.stop == "imported",
    )
