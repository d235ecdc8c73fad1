"""What ends a run, and what it then has to show."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from tooln1_agent.messages import Usage
from tooln1_agent.transcript import Interaction, Stop
from tooln1_agent.verdict import refusal, verdict


class Limits(BaseModel):
    """What ends a run that does not end by itself. It ends with what there is so far."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_turns: int = Field(default=8, ge=1)
    """Model calls in one run."""
    max_faulty_replies: int = Field(default=2, ge=0)
    """Unusable replies in one run that are answered by a complaint; one more ends the run."""
    max_total_tokens: int = Field(default=200_000, ge=1)
    """Prompt and completion tokens over all turns; no further turn is begun past it."""
    tool_timeout_s: float = Field(default=30.0, gt=0)
    """For a tool that has no limit of its own."""
    max_result_chars: int = Field(default=16_000, ge=200)
    """Longest tool result that is shown to the model."""
    max_parallel_calls: int = Field(default=8, ge=1)
    """Calls of one turn that run at the same time."""


def end_of_reply(
    interaction: Interaction, limits: Limits, *, client_runs_calls: bool
) -> Stop | None:
    """Say whether the last reply ends the run, and why."""
    turn = interaction.turns[-1]
    cut = turn.completion.finish_reason == "length"
    match verdict(turn.reply):
        case "calls":
            return "client_calls" if client_runs_calls else None
        case "answer":
            return "max_tokens" if cut else "answer"
        case "no_call":
            return "no_call"
        case "unusable":
            if cut:
                return "max_tokens"
            complaints = sum(bool(t.complaint) for t in interaction.turns)
            return "faulty_reply" if complaints > limits.max_faulty_replies else None


def end_of_limits(interaction: Interaction, limits: Limits) -> Stop | None:
    """Say whether a limit forbids another turn, and which."""
    if len(interaction.turns) >= limits.max_turns:
        return "max_turns"
    usage = total_usage(interaction)
    if usage.prompt_tokens + usage.completion_tokens >= limits.max_total_tokens:
        return "max_tokens"
    return None


def total_usage(interaction: Interaction) -> Usage:
    return sum((turn.completion.usage for turn in interaction.turns), Usage())


def output_of(interaction: Interaction) -> str:
    """Return the answer, or what there is in its place."""
    reply = interaction.turns[-1].reply
    match interaction.stop:
        case "answer":
            return reply.answer or ""
        case "no_call":
            return refusal(reply)
        case "client_calls":
            return ""
    if reply.answer is not None and not interaction.turns[-1].complaint:
        return reply.answer
    last = next((turn.results for turn in reversed(interaction.turns) if turn.results), ())
    lines = [f"- {result.call.name}: {result.content}" for result in last]
    head = f"Stopped without an answer ({interaction.stop})."
    return "\n".join([f"{head} Last results:", *lines] if lines else [head])
