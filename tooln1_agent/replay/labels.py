"""Which labels the store takes: those that make sense for their turn, from somebody trusted."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from tool_registry.calls import ToolCall
from tool_registry.errors import InvalidTool
from tool_registry.tool import ToolSpec
from tool_registry.validation import validate_arguments
from tooln1_agent.errors import LabelRefused, UnknownRecord
from tooln1_agent.examples import (
    HOLDOUT_SOURCES,
    Exact,
    LabelEvent,
    NoCall,
    Possible,
    Source,
    Target,
    Verify,
)
from tooln1_agent.rules import given_problem
from tooln1_agent.transcript import Interaction

QUOTA_SOURCES: frozenset[Source] = frozenset({"correction", "feedback"})
"""What people send; imports and rules of the operator's own are not bounded."""


class LabelPolicy(BaseModel):
    """Bounds on what one author can teach."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_labels_per_author_per_day: int = Field(default=2000, ge=0)
    """Corrections and feedback of one author in one UTC day, by the labels' `created_at`."""


def check_label(event: LabelEvent, interaction: Interaction) -> None:
    """Return if the label makes sense for its turn.

    A turn 0 that was never served (an imported prompt) may be given a target, for its prompt is
    known; there is nothing in it to accept or reject.

    Raises:
        UnknownRecord: the interaction has no such turn.
        LabelRefused: an untrusted author, or a target that could not be right for these tools.
    """
    where = f"turn {event.turn} of interaction {interaction.id!r}"
    if event.trust <= 0.0:
        raise LabelRefused(f"{event.author!r} is not trusted to label; {where} stays as it is")
    served = event.turn < len(interaction.turns)
    if not served and (event.turn or interaction.turns):
        raise UnknownRecord(
            f"there is no {where}: it has {len(interaction.turns)} turns, counted from 0"
        )
    if event.verdict == "target":
        problem = _renewal_problem(event, interaction) or target_problem(
            event.target, renewed_tools(interaction.tools, event.renewed)
        )
    elif not served:
        problem = "it was never served, so there is nothing to accept or reject; send a target"
    elif event.verdict == "accept":
        reply = interaction.turns[event.turn].reply
        if reply.faults and not reply.calls:
            problem = f"its reply is malformed ({reply.faults[0]}), so it cannot be accepted"
        else:
            problem = _calls_problem(reply.calls, interaction.tools)
    else:
        problem = None
    if problem is None and event.source not in HOLDOUT_SOURCES:
        problem = _weak_problem(event, interaction)
    if problem:
        raise LabelRefused(f"cannot label {where} with {event.verdict!r}: {problem}")


def _weak_problem(event: LabelEvent, interaction: Interaction) -> str | None:
    """Say why a label that nobody gave explicitly may not say that nothing was to be called."""
    if event.verdict == "accept":
        says_no_call = not interaction.turns[event.turn].reply.calls
    else:
        says_no_call = isinstance(event.target, NoCall)
    if not says_no_call:
        return None
    return f"{event.source!r} cannot tell that no call was right; only an explicit label can"


def renewed_tools(tools: Sequence[ToolSpec], renewed: Sequence[ToolSpec]) -> tuple[ToolSpec, ...]:
    """Return tools with those of the same name in place of them."""
    now = {spec.name: spec for spec in renewed}
    return tuple(now.get(spec.name, spec) for spec in tools)


def _renewal_problem(event: LabelEvent, interaction: Interaction) -> str | None:
    return _name_problem([spec.name for spec in event.renewed], interaction.tools)


def target_problem(target: Target | None, tools: Sequence[ToolSpec]) -> str | None:
    """Say why a target could not be right for these tools; None if it could."""
    match target:
        case Exact(alternatives=ways):
            if not all(ways):
                return "an alternative without calls; use a no_call target for that"
            return next(filter(None, (_calls_problem(way, tools) for way in ways)), None)
        case Possible(calls=calls):
            return _name_problem([call.name for call in calls], tools)
        case Verify(rule=rule, given=given):
            return given_problem(rule, given) if tools else "no tools were offered to it"
        case _:
            return None


def _calls_problem(calls: Sequence[ToolCall], tools: Sequence[ToolSpec]) -> str | None:
    if problem := _name_problem([call.name for call in calls], tools):
        return problem
    specs = {spec.name: spec for spec in tools}
    for call in calls:
        try:
            problem = validate_arguments(specs[call.name], call.arguments)
        except InvalidTool as error:
            problem = f"its schema cannot be used ({error})"
        if problem:
            return f"the arguments for {call.name!r} do not fit: {problem}"
    return None


def _name_problem(names: Sequence[str], tools: Sequence[ToolSpec]) -> str | None:
    offered = sorted({spec.name for spec in tools})
    unknown = sorted(set(names) - set(offered))
    if not unknown:
        return None
    return f"{unknown[0]!r} was not offered to it; offered: {', '.join(offered) or 'no tools'}"
