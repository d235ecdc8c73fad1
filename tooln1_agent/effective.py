"""What the labels of a turn add up to: the target that is left, or the rejection of what it did.

Pure rules: a stronger source wins, then the newer label; accepted ways accumulate; a reject takes
away and never gives.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from tool_registry.calls import ToolCall
from tool_registry.tool import ToolSpec
from tooln1_agent.examples import HOLDOUT_SOURCES, STRENGTH, LabelEvent, Source
from tooln1_agent.parsing import Reply
from tooln1_agent.targets import Exact, NoCall, Target


class Labelled(NamedTuple):
    """The target that the events of one turn add up to, what it rests on, and since when."""

    target: Target
    source: Source
    created_at: datetime
    renewed: tuple[ToolSpec, ...] = ()
    """Tools that the target was given for as they are now, not as the turn was offered them."""


def effective_target(events: Iterable[LabelEvent], reply: Reply) -> Labelled | None:
    """Reduce the label events of one turn to its target; None where nothing positive is left.

    Of the given targets, and of the verdicts on what the turn did, the strongest source wins and
    then the newest. An accept makes what the turn did the target, or another way beside a target
    of at least its strength (a weak accept adds nothing to a stronger target). A reject takes what
    the turn did out of a target that is weaker or older, and never becomes a target itself.
    """
    events = sorted(events, key=_weight)
    best = next((e for e in reversed(events) if e.target is not None), None)
    verdict, own = _last_verdict(events), _target_of(reply)
    if own is not None and verdict is not None and verdict.verdict == "accept":
        return _accepted(own, verdict, best)
    if best is None or best.target is None:
        return None
    left: Target | None = best.target
    if rejection := rejection_of(events, reply):
        left = without_rejected(best.target, best.source, best.created_at, rejection=rejection)
    return _labelled(left, best)


class Rejection(NamedTuple):
    """The last word on what a turn did: it was not right."""

    way: Target
    source: Source
    created_at: datetime


def rejection_of(events: Iterable[LabelEvent], reply: Reply) -> Rejection | None:
    """Return the rejection of what a turn did, unless a stronger or newer word accepts it."""
    verdict, own = _last_verdict(sorted(events, key=_weight)), _target_of(reply)
    if verdict is None or own is None or verdict.verdict == "accept":
        return None
    return Rejection(own, verdict.source, verdict.created_at)


def without_rejected(
    target: Target, source: Source, created_at: datetime, *, rejection: Rejection
) -> Target | None:
    """Return what a rejection leaves of a target: all of it, if that is stronger or newer."""
    if (STRENGTH[source], created_at) > (STRENGTH[rejection.source], rejection.created_at):
        return target
    return without(target, rejection.way)


def joined(target: Target, other: Target) -> Target:
    """Return a target of calls with the alternatives of another; any other target as it is."""
    if not (isinstance(target, Exact) and isinstance(other, Exact)):
        return target
    known = {_way_key(way) for way in target.alternatives}
    added = tuple(way for way in other.alternatives if _way_key(way) not in known)
    return Exact(alternatives=target.alternatives + added)


def _last_verdict(in_order: Sequence[LabelEvent]) -> LabelEvent | None:
    return next((e for e in reversed(in_order) if e.verdict != "target"), None)


def _weight(event: LabelEvent) -> tuple[int, datetime]:
    return STRENGTH[event.source], event.created_at


def _labelled(target: Target | None, event: LabelEvent) -> Labelled | None:
    if target is None:
        return None
    return Labelled(target, event.source, event.created_at, event.renewed)


def _accepted(own: Target, accept: LabelEvent, best: LabelEvent | None) -> Labelled | None:
    if best is None or best.target is None or STRENGTH[best.source] < STRENGTH[accept.source]:
        return _labelled(own, accept)
    if accept.source not in HOLDOUT_SOURCES:
        return _labelled(best.target, best)
    since = max(best.created_at, accept.created_at)
    return Labelled(joined(best.target, own), best.source, since, best.renewed)


def _target_of(reply: Reply) -> Target | None:
    """Return what a turn did as a target; nothing where its calls cannot be told."""
    if reply.calls:
        return Exact(alternatives=(_without_ids(reply.calls),))
    return NoCall() if not reply.faults else None


def _without_ids(calls: Sequence[ToolCall]) -> tuple[ToolCall, ...]:
    return tuple(ToolCall(name=call.name, arguments=call.arguments) for call in calls)


def _way_key(way: Sequence[ToolCall]) -> tuple[str, ...]:
    return tuple(sorted(call.key() for call in way))


def without(target: Target, own: Target) -> Target | None:
    """Return what is left of a target when what a turn did is taken out of it; None if nothing."""
    if isinstance(target, NoCall) and isinstance(own, NoCall):
        return None
    if not (isinstance(target, Exact) and isinstance(own, Exact)):
        return target
    barred = {_way_key(way) for way in own.alternatives}
    left = tuple(way for way in target.alternatives if _way_key(way) not in barred)
    return Exact(alternatives=left) if left else None
