"""What live traffic teaches: label events, which source is stronger, and examples.

Also on which side of the split a conversation falls. `effective` says what several labels add up
to; the store keeps them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tool_registry.calls import canonical_json
from tool_registry.tool import ToolSpec
from tooln1_agent.instants import Instant
from tooln1_agent.messages import Message
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
    "NoCall",
    "Possible",
    "PossibleCall",
    "Source",
    "Split",
    "Target",
    "Verify",
    "called_tools",
    "example_id",
    "opening_of",
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
    imported: bool = False
    """Whether the prompt came from a file and was never served."""

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
    digest = hashlib.sha256(opening_of(messages).encode("utf-8", "replace")).digest()
    return (int.from_bytes(digest[:2], "big") >> 6) / 1024


def opening_of(messages: Sequence[Message]) -> str:
    """Return what a conversation is told apart by: its first user text, case and spaces evened."""
    first = next((m.content for m in messages if m.role == "user"), "")
    return " ".join(first.casefold().split())
