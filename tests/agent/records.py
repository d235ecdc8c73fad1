"""Records for tests: interactions, turns and labels with only what the test is about."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from tool_registry import ToolCall, ToolResult, ToolSpec
from tooln1_agent.examples import Exact, LabelEvent
from tooln1_agent.ids import new_id
from tooln1_agent.messages import Completion, Message
from tooln1_agent.parsing import parse
from tooln1_agent.transcript import Interaction, Turn, with_call_ids

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)

WEATHER = ToolSpec(
    name="weather",
    description="Weather in a city.",
    parameters={
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "days": {"type": "integer", "default": 1},
            "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
        },
        "required": ["city"],
    },
)
MAIL = ToolSpec(
    name="mail",
    parameters={
        "type": "object",
        "properties": {"to": {"type": "string"}, "urgent": {"type": "boolean"}},
        "required": ["to"],
    },
)
TOOLS = (WEATHER, MAIL)


def after(hours: float) -> datetime:
    return NOW + timedelta(hours=hours)


def call(name: str = "weather", /, **arguments: Any) -> ToolCall:
    return ToolCall(name=name, arguments=arguments)


def calling(*calls: ToolCall) -> str:
    listed = [{"name": c.name, "arguments": c.arguments} for c in calls]
    return f"<think>I call.</think><tool_call>{json.dumps(listed)}</tool_call>"


def turn(text: str, *, results: Sequence[str | bool] = (), complaint: str = "") -> Turn:
    """Make a turn of a completion.

    Args:
        results: for each call True (it succeeded) or how it failed.
    """
    reply = parse(text)
    reply = with_call_ids(reply, tuple(new_id("call") for _ in reply.calls))
    came_back = tuple(
        ToolResult(call=c, content="fine", ok=True)
        if outcome is True
        else ToolResult.model_validate(
            {"call": c, "content": "it failed", "ok": False, "error": outcome}
        )
        for c, outcome in zip(reply.calls, results, strict=False)
    )
    completion = Completion(text=text)
    return Turn(completion=completion, reply=reply, results=came_back, complaint=complaint)


def answer(text: str = "Sunny.") -> Turn:
    return turn(f"<think>I know.</think>{text}")


def asked(
    text: str | Sequence[Message] = "Weather in Rome?", *turns: Turn, **changes: Any
) -> Interaction:
    """Make an interaction that asks `text` (or goes on from messages)."""
    messages = (Message(role="user", content=text),) if isinstance(text, str) else tuple(text)
    fields = {
        "id": new_id("int"),
        "episode": new_id("ep"),
        "messages": messages,
        "tools": TOOLS,
        "turns": turns,
        "created_at": NOW,
    }
    return Interaction.model_validate(fields | changes)


def label(
    interaction: Interaction | str, verdict: str | Sequence[ToolCall] = "accept", **changes: Any
) -> LabelEvent:
    """Make a label; given calls, it is a target."""
    fields: dict[str, Any] = {"verdict": verdict}
    if not isinstance(verdict, str):
        target = Exact(alternatives=(tuple(verdict),))
        fields = {"verdict": "target", "target": target, "source": "correction"}
    name = interaction if isinstance(interaction, str) else interaction.id
    fields |= {"interaction": name, "author": "ann", "created_at": NOW}
    return LabelEvent.model_validate(fields | changes)
