"""What live traffic teaches: label events, the target they add up to, and examples made of both.

Pure rules only: which label is stronger, what an accept or a reject does to a target, on which
side of the split a conversation falls. The store keeps the events; this module reads them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tool_registry.calls import ToolCall, canonical_json
from tool_registry.tool import ToolSpec
from tooln1_agent.instants import Instant
from tooln1_agent.messages import Message
from tooln1_agent.parsing import Reply
from tooln1_agent.targets import (
    AnyCall,
    Exact,
    NoCall,
    Possible,
    PossibleCall,
    Target,
    Verify,
    called_tools,
)

__all__ = [
    "HOLDOUT_SOURCES",
    "STRENGTH",
    "AnyCall",
    "Exact",
    "Example",
    "LabelEvent",
    "Labelled",
    "NoCall",
    "Possible",
    "PossibleCall",
    "Source",
    "Split",
    "Target",
    "Verify",
    "called_tools",
    "effective_target",
    "example_id",
    "place_of",
    "split_at",
    "split_of",
]

_FROZEN = ConfigDict(frozen=True, extra="forbid")


Source = Literal["correction", "feedback", "verifier", "dataset", "hindsight", "implicit"]
STRENGTH: dict[Source, int] = {
    "correction": 6,
    "feedback": 5,
    "verifier": 4,
    "dataset": 3,
    "hindsight": 2,
    "implicit": 1,
}
HOLDOUT_SOURCES: frozenset[Source] = frozenset({"correction", "feedback", "verifier", "dataset"})
"""Labels sure enough to judge an adapter by."""


class LabelEvent(BaseModel):
    """Somebody's word on what a turn should have done. Append-only: events are never edited."""

    model_config = _FROZEN

    interaction: str
    turn: int = Field(default=0, ge=0)
    """Index into the turns of the interaction."""
    verdict: Literal["accept", "reject", "target"]
    target: Target | None = None
    source: Source = "feedback"
    author: str = ""
    trust: float = Field(default=1.0, ge=0.0, le=1.0)
    evidence: str = ""
    """For hindsight and verifiers: what the label rests on, for a person to check."""
    renewed: tuple[ToolSpec, ...] = ()
    """Tools as they have become since the turn: whoever gives the target vouches for these."""
    created_at: Instant

    @model_validator(mode="after")
    def _target_goes_with_its_verdict(self) -> LabelEvent:
        if (self.verdict == "target") != (self.target is not None):
            raise ValueError(
                f"verdict {self.verdict!r} with target {self.target!r}: "
                "'target' needs a target, 'accept' and 'reject' take none"
            )
        if self.renewed and self.verdict != "target":
            raise ValueError(f"verdict {self.verdict!r} renews no tools; a 'target' may")
        return self


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
    ordered = sorted(events, key=_weight)
    best = next((e for e in reversed(ordered) if e.verdict == "target"), None)
    verdict = next((e for e in reversed(ordered) if e.verdict != "target"), None)
    own = _target_of(reply)
    if verdict is None or own is None:
        return None if best is None else _labelled(best.target, best)
    if verdict.verdict == "accept":
        return _accepted(own, verdict, best)
    if best is None or best.target is None:
        return None
    if _weight(verdict) < _weight(best):
        return _labelled(best.target, best)
    return _labelled(_without(best.target, own), best)


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
    joined = _join(best.target, own)
    since = max(best.created_at, accept.created_at)
    return Labelled(joined, best.source, since, best.renewed)


def _target_of(reply: Reply) -> Target | None:
    """Return what a turn did as a target; nothing where its calls cannot be told."""
    if reply.calls:
        return Exact(alternatives=(_without_ids(reply.calls),))
    return NoCall() if not reply.faults else None


def _without_ids(calls: Sequence[ToolCall]) -> tuple[ToolCall, ...]:
    return tuple(ToolCall(name=call.name, arguments=call.arguments) for call in calls)


def _way_key(way: Sequence[ToolCall]) -> tuple[str, ...]:
    return tuple(sorted(call.key() for call in way))


def _join(target: Target, own: Target) -> Target:
    if not (isinstance(target, Exact) and isinstance(own, Exact)):
        return target
    known = {_way_key(way) for way in target.alternatives}
    added = tuple(way for way in own.alternatives if _way_key(way) not in known)
    return Exact(alternatives=target.alternatives + added)


def _without(target: Target, own: Target) -> Target | None:
    if isinstance(target, NoCall) and isinstance(own, NoCall):
        return None
    if not (isinstance(target, Exact) and isinstance(own, Exact)):
        return target
    barred = {_way_key(way) for way in own.alternatives}
    left = tuple(way for way in target.alternatives if _way_key(way) not in barred)
    return Exact(alternatives=left) if left else None


Split = Literal["train", "holdout"]


class Example(BaseModel):
    """A prompt with its target: what the trainer samples groups for and the gate asks."""

    model_config = _FROZEN

    id: str
    """Hash of the prompt (messages and tools), so that equal prompts are one example."""
    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...]
    target: Target
    split: Split
    source: Source
    interaction: str | None = None
    turn: int = 0
    created_at: Instant
    """When the newest label that the target rests on was given."""

    @property
    def is_call(self) -> bool:
        """Whether the right reply calls something."""
        return not isinstance(self.target, NoCall)


def example_id(messages: Sequence[Message], tools: Sequence[ToolSpec]) -> str:
    """Hash a prompt: 16 hex digits of SHA-256 over what is rendered of it (so not call ids)."""
    prompt = [
        [[m.role, m.content, [[c.name, c.arguments] for c in m.tool_calls]] for m in messages],
        [spec.fingerprint for spec in tools],
    ]
    return hashlib.sha256(canonical_json(prompt).encode()).hexdigest()[:16]


def split_of(messages: Sequence[Message], *, holdout_share: float = 0.25) -> Split:
    """Say on which side of the split a conversation falls, by its first user text.

    The text is normalised (case, white space), so neither a repeated question nor a later turn
    of the same conversation can stand on both sides.
    """
    return split_at(place_of(messages), holdout_share=holdout_share)


def split_at(place: float, *, holdout_share: float = 0.25) -> Split:
    """Say on which side of the split a place is."""
    return "holdout" if place < holdout_share else "train"


def place_of(messages: Sequence[Message]) -> float:
    """Return the place of a conversation in the split: at least 0, less than 1.

    It comes in steps of 1/1024, so that a place which outlives its text tells next to nothing of
    it.
    """
    first = next((m.content for m in messages if m.role == "user"), "")
    normal = " ".join(first.casefold().split())
    digest = hashlib.sha256(normal.encode("utf-8", "replace")).digest()
    return (int.from_bytes(digest[:2], "big") >> 6) / 1024
