"""Labels from hindsight: a turn failed, and a later turn of its episode made it succeed.

The calls that succeeded, spliced with those of the failed turn that had succeeded, are what the
earlier turn should have done, but only where every value in them could be known from the earlier
prompt (see `grounding`). A hindsight label never judges an adapter (`HOLDOUT_SOURCES`).
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from datetime import UTC, datetime

from tool_registry.calls import ToolCall
from tooln1_agent.examples import Exact, LabelEvent
from tooln1_agent.replay.grounding import Said, ungrounded_value
from tooln1_agent.replay.steps import Step, steps_of
from tooln1_agent.replay.store import ReplayStore

AUTHOR = "hindsight"
TRUST = 0.5
"""How far a hindsight label is trusted; a person's is 1."""
_SIMILAR_NAMES = 0.6
"""Least similarity of a wrong tool name to the right one (as `difflib` measures it)."""


def find_hindsight(store: ReplayStore, *, now: datetime | None = None) -> list[LabelEvent]:
    """Return the labels that hindsight gives; interactions with `no_train` give none.

    Args:
        now: when the labels are given.
    """
    now = now or datetime.now(UTC)
    return [
        event
        for episode in store.failed_episodes()
        for event in hindsight_of(steps_of(store.episode(episode)), now=now)
    ]


def hindsight_of(steps: Sequence[Step], *, now: datetime) -> list[LabelEvent]:
    """Return the labels that the steps of one episode give."""
    events = []
    for index, step in enumerate(steps):
        if step.has_failed and not step.interaction.no_train:
            event = _label(step, _span(steps, index), now=now)
            if event is not None:
                events.append(event)
    return events


def _span(steps: Sequence[Step], index: int) -> list[Step]:
    """Return the steps after the one at `index` that answer the same user message."""
    prompt = steps[index].prompt
    span: list[Step] = []
    for step in steps[index + 1 :]:
        begins_alike = step.prompt[: len(prompt)] == prompt
        if not begins_alike or any(m.role == "user" for m in step.prompt[len(prompt) :]):
            break
        span.append(step)
    return span


def _label(step: Step, later: Sequence[Step], *, now: datetime) -> LabelEvent | None:
    calls = resolved_calls(step, later)
    if not calls:
        return None
    said = Said(step.prompt)
    specs = {spec.name: spec for spec in step.interaction.tools}
    if any(ungrounded_value(call, said, specs.get(call.name)) for call in calls):
        return None
    return LabelEvent(
        interaction=step.interaction.id,
        turn=step.index,
        verdict="target",
        target=Exact(alternatives=(calls,)),
        source="hindsight",
        author=AUTHOR,
        trust=TRUST,
        evidence=_evidence(step, later, calls),
        created_at=now,
    )


def resolved_calls(step: Step, later: Sequence[Step]) -> tuple[ToolCall, ...] | None:
    """Return the calls that a step should have made, going by later steps; None if unknown."""
    if step.is_malformed:
        return resolved_calls(later[0], later[1:]) if later else None
    succeeded = {c.key() for c, o in zip(step.calls, step.outcomes, strict=True) if o == "ok"}
    left = [
        (distance, call)
        for distance, other in enumerate(later)
        for call, outcome in zip(other.calls, other.outcomes, strict=True)
        if outcome == "ok" and call.key() not in succeeded
    ]
    calls: list[ToolCall] = []
    for call, outcome in zip(step.calls, step.outcomes, strict=True):
        if outcome == "ok":
            calls.append(call)
            continue
        found = next((entry for entry in left if entry[1].name == call.name), None)
        if found is None and outcome == "unknown_tool":
            found = _renamed(call, [entry for entry in left if entry[0] == 0])
        if found is None:
            return None
        left.remove(found)
        calls.append(found[1])
    return tuple(calls)


def _renamed(call: ToolCall, left: Sequence[tuple[int, ToolCall]]) -> tuple[int, ToolCall] | None:
    """Find the call that repeats one to an unknown tool: the same arguments, or a similar name."""
    for entry in left:
        if entry[1].arguments == call.arguments:
            return entry
    names = [entry[1].name for entry in left]
    close = difflib.get_close_matches(call.name, names, n=1, cutoff=_SIMILAR_NAMES)
    return left[names.index(close[0])] if close else None


def _evidence(step: Step, later: Sequence[Step], calls: Sequence[ToolCall]) -> str:
    if step.is_malformed:
        failed = f"malformed reply ({', '.join(step.turn.reply.faults) or 'unusable'})"
    else:
        failed = ", ".join(
            f"{call.name}: {outcome}"
            for call, outcome in zip(step.calls, step.outcomes, strict=True)
            if outcome != "ok"
        )
    keys = {call.key() for call in calls}
    by = next((s.where for s in later if any(call.key() in keys for call in s.calls)), "")
    return f"failed with {failed}; {by} succeeded"
