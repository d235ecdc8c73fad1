"""What a person says of a turn, over HTTP or on the terminal, as a label event."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tool_registry.calls import ToolCall
from tooln1_agent.examples import Exact, LabelEvent, NoCall, Target

_STRICT = ConfigDict(frozen=True, extra="forbid", strict=True)


class CorrectCall(BaseModel):
    """A call that should have been made."""

    model_config = _STRICT

    name: str
    arguments: dict[str, Any]


class Feedback(BaseModel):
    """A verdict on one turn of an interaction."""

    model_config = _STRICT

    interaction: str
    turn: int = Field(default=0, ge=0)
    """Which model call of the interaction is meant; the first by default."""
    verdict: Literal["accept", "reject", "correction"]
    calls: list[CorrectCall] | None = Field(default=None, min_length=1, max_length=64)
    """With a correction: the calls that would have been right."""
    no_call: bool = False
    """With a correction: calling nothing would have been right."""
    comment: str = Field(default="", max_length=2000)

    @model_validator(mode="after")
    def _a_correction_says_what_is_right(self) -> Self:
        says = (self.calls is not None) + self.no_call
        if self.verdict == "correction" and says != 1:
            raise ValueError("a correction takes either 'calls' or 'no_call': true")
        if self.verdict != "correction" and says:
            raise ValueError(f"'calls' and 'no_call' go with a correction, not {self.verdict!r}")
        return self

    def label(self, *, author: str, now: datetime) -> LabelEvent:
        """Return the label event; a correction weighs more than a plain verdict."""
        return LabelEvent(
            interaction=self.interaction,
            turn=self.turn,
            verdict="target" if self.verdict == "correction" else self.verdict,
            target=self._target(),
            source="correction" if self.verdict == "correction" else "feedback",
            author=author,
            evidence=self.comment,
            created_at=now,
        )

    def _target(self) -> Target | None:
        if self.no_call:
            return NoCall()
        if self.calls is None:
            return None
        calls = tuple(ToolCall(name=c.name, arguments=c.arguments) for c in self.calls)
        return Exact(alternatives=(calls,))
