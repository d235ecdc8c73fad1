"""Targets: the forms in which it can be said what a reply should call."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from tool_registry.calls import ToolCall

_FROZEN = ConfigDict(frozen=True, extra="forbid")


class Exact(BaseModel):
    """The calls must equal one of the alternatives, as multisets; argument order is irrelevant."""

    model_config = _FROZEN

    kind: Literal["exact"] = "exact"
    alternatives: tuple[tuple[ToolCall, ...], ...] = Field(min_length=1)


class PossibleCall(BaseModel):
    """A call whose arguments each have a list of acceptable values; "" means "may be left out"."""

    model_config = _FROZEN

    name: str
    arguments: dict[str, list[Any]]


class Possible(BaseModel):
    """BFCL's form of a target: every call must be met by one with acceptable values."""

    model_config = _FROZEN

    kind: Literal["possible"] = "possible"
    calls: tuple[PossibleCall, ...] = Field(min_length=1)


class NoCall(BaseModel):
    """The right reply calls nothing."""

    model_config = _FROZEN

    kind: Literal["no_call"] = "no_call"


class AnyCall(BaseModel):
    """The right reply calls something, whatever it is."""

    model_config = _FROZEN

    kind: Literal["any_call"] = "any_call"


class Verify(BaseModel):
    """The right reply calls something, and a rule of the operator's accepts what came of it.

    Only what running the calls returned can tell, so the completion alone never meets it.
    """

    model_config = _FROZEN

    kind: Literal["verify"] = "verify"
    rule: str = Field(min_length=1)
    """Name of the rule: "schema", or a function registered with the agent (`rules`)."""
    given: dict[str, Any] = Field(default_factory=dict)
    """JSON that the rule is told: what is wanted here. For "schema", its `schema`."""


Target = Annotated[Exact | Possible | NoCall | AnyCall | Verify, Field(discriminator="kind")]


def called_tools(target: Target) -> frozenset[str]:
    """Return the names of the tools that a target calls; none where it names none."""
    match target:
        case Exact(alternatives=ways):
            return frozenset(call.name for way in ways for call in way)
        case Possible(calls=calls):
            return frozenset(call.name for call in calls)
        case NoCall() | AnyCall() | Verify():
            return frozenset()
