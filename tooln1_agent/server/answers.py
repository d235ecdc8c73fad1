"""What the API says of a run that has ended, in the body of a chat completion."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from tool_registry.calls import ToolCall
from tooln1_agent.messages import Usage
from tooln1_agent.run_events import RunResult
from tooln1_agent.transcript import Stop

_LENGTH: frozenset[Stop] = frozenset({"max_tokens", "max_turns"})


@dataclass(frozen=True, slots=True)
class Head:
    """What every body of one answer carries."""

    interaction: str
    created: int
    """Unix time in seconds."""
    model: str
    fingerprint: str
    """The base model and the adapter that serve."""

    def body(self, kind: Literal["chat.completion", "chat.completion.chunk"]) -> dict[str, Any]:
        """Return the fields that open a body."""
        return {
            "id": self.interaction,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
        }


def completion_body(head: Head, result: RunResult, *, may_call: bool) -> dict[str, Any]:
    """Return the body of an answer that is not streamed.

    Args:
        may_call: whether the client may be handed calls.
    """
    calls = client_calls(result) if may_call else ()
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None if calls else result.output,
        "refusal": None,
    }
    if calls:
        message["tool_calls"] = [_call(call) for call in calls]
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": finish_reason(result, calls),
    }
    return {
        **head.body("chat.completion"),
        "choices": [choice],
        "usage": usage_body(result.usage),
    }


def usage_body(usage: Usage) -> dict[str, int]:
    """Return token counts in OpenAI's words."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


def client_calls(result: RunResult) -> tuple[ToolCall, ...]:
    if result.stop != "client_calls":
        return ()
    return result.interaction.turns[-1].reply.calls


def _call(call: ToolCall) -> dict[str, Any]:
    arguments = json.dumps(call.arguments, ensure_ascii=False)
    return {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": arguments},
    }


def finish_reason(result: RunResult, calls: tuple[ToolCall, ...]) -> str:
    if calls:
        return "tool_calls"
    return "length" if result.stop in _LENGTH else "stop"
