"""What the API says of a run, in the bodies of a chat completion and of its stream's chunks."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from tool_registry.calls import ToolCall
from tooln1_agent.messages import Usage
from tooln1_agent.parsing import (
    CALL_CLOSE,
    CALL_OPEN,
    THINK_CLOSE,
    THINK_OPEN,
    AnswerDelta,
    CallFinished,
    ThoughtDelta,
)
from tooln1_agent.run_events import RunEvent, RunResult, TurnFinished
from tooln1_agent.transcript import Stop

_TAGS = (THINK_OPEN, THINK_CLOSE, CALL_OPEN, CALL_CLOSE)
_LENGTH: frozenset[Stop] = frozenset({"max_tokens", "max_turns"})
BETWEEN = "\n\n"
"""Stands in a stream between an answer that was given up and what came in its place."""


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
    calls = _client_calls(result) if may_call else ()
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
        "finish_reason": _finish_reason(result, calls),
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


class ChunkWriter:
    """Turns the events of a run into the chunks of its stream."""

    def __init__(self, head: Head, *, may_call: bool, include_usage: bool) -> None:
        self._head, self._may_call, self._include_usage = head, may_call, include_usage
        self._text = _StreamedText()

    def opening(self) -> dict[str, Any]:
        """Return the first chunk, which names the role."""
        return self._chunk({"role": "assistant", "content": ""})

    def of(self, event: RunEvent) -> list[dict[str, Any]]:
        """Return the chunks that an event gives rise to; those of the `RunResult` are the last."""
        if isinstance(event, RunResult):
            return self._closing(event)
        text = self._text.add(event)
        return [self._chunk({"content": text})] if text else []

    def _closing(self, result: RunResult) -> list[dict[str, Any]]:
        calls = _client_calls(result) if self._may_call else ()
        chunks = [
            self._chunk({"tool_calls": [{"index": index, **_call(call)}]})
            for index, call in enumerate(calls)
        ]
        if rest := self._text.rest(result.output):
            chunks.append(self._chunk({"content": rest}))
        chunks.append(self._chunk({}, finish_reason=_finish_reason(result, calls)))
        if self._include_usage:
            last = self._head.body("chat.completion.chunk")
            chunks.append({**last, "choices": [], "usage": usage_body(result.usage)})
        return chunks

    def _chunk(self, delta: dict[str, Any], *, finish_reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        body = {**self._head.body("chat.completion.chunk"), "choices": [choice]}
        return {**body, "usage": None} if self._include_usage else body


class _StreamedText:
    """The text of a stream. An answer that holds a tag cannot be used and is cut before the tag;
    what comes in its place follows after a blank line."""

    def __init__(self) -> None:
        self._answer = ""  # of this turn, as the model gave it
        self._sent = 0  # characters of it that went out
        self._sent_before = False  # whether anything of an earlier turn went out
        self._turn_is_over = False

    def add(self, event: RunEvent) -> str:
        """Return what an event lets go out."""
        if self._turn_is_over and isinstance(
            event, AnswerDelta | ThoughtDelta | CallFinished | TurnFinished
        ):
            self._sent_before = self._sent_before or self._sent > 0
            self._answer, self._sent, self._turn_is_over = "", 0, False
        if isinstance(event, AnswerDelta):
            self._answer += event.text
            return self._send(_certain(self._answer))
        self._turn_is_over = self._turn_is_over or isinstance(event, TurnFinished)
        return ""

    def rest(self, output: str) -> str:
        """Return what is missing of the run's output when it has ended."""
        if output.startswith(self._answer[: self._sent]):
            return self._send(output)
        self._sent_before, self._sent = True, 0
        return self._send(output)

    def _send(self, text: str) -> str:
        fresh = text[self._sent :]
        between = BETWEEN if fresh and self._sent_before and not self._sent else ""
        self._sent = max(self._sent, len(text))
        return between + fresh


def _certain(answer: str) -> str:
    """Return the part of an answer before any tag, or what may yet become one."""
    places = [place for tag in _TAGS if (place := answer.find(tag)) >= 0]
    start = answer.rfind("<")
    if start >= 0 and any(tag.startswith(answer[start:]) for tag in _TAGS):
        places.append(start)
    return answer[: min(places, default=len(answer))].rstrip()


def _client_calls(result: RunResult) -> tuple[ToolCall, ...]:
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


def _finish_reason(result: RunResult, calls: tuple[ToolCall, ...]) -> str:
    if calls:
        return "tool_calls"
    return "length" if result.stop in _LENGTH else "stop"
