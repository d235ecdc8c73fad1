"""What the API says of a run that goes on: the chunks of a stream.

Calls go out while the model writes them. That is safe since a client may act on them only when
the closing chunk says `tool_calls`, which comes after the turn is recorded. Calls that turn out
malformed end the stream with an error in place of that chunk, for clients that look no further
than at the calls; those of a reply that was cut by its limit end it with `length`, as everywhere.
"""

from __future__ import annotations

from typing import Any

from tooln1_agent.parsing import CALL_CLOSE, CALL_OPEN, THINK_CLOSE, THINK_OPEN
from tooln1_agent.reply_events import AnswerDelta, ArgumentDelta, CallStarted
from tooln1_agent.run_events import RunEvent, RunResult, ToolsFinished, TurnFinished
from tooln1_agent.server.answers import Head, client_calls, finish_reason, usage_body
from tooln1_agent.server.problems import ApiError

_TAGS = (THINK_OPEN, THINK_CLOSE, CALL_OPEN, CALL_CLOSE)
BETWEEN = "\n\n"
"""Stands in a stream between an answer that was given up and what came in its place."""


class ChunkWriter:
    """Turns the events of a run into the chunks of its stream."""

    def __init__(self, head: Head, *, may_call: bool, include_usage: bool) -> None:
        self._head, self._may_call, self._include_usage = head, may_call, include_usage
        self._text = _StreamedText()
        self._has_calls = False

    def opening(self) -> dict[str, Any]:
        """Return the first chunk, which names the role."""
        return self._chunk({"role": "assistant", "content": ""})

    def of(self, event: RunEvent) -> list[dict[str, Any]]:
        """Return the chunks that an event gives rise to; those of the `RunResult` are the last."""
        if isinstance(event, RunResult):
            return self._closing(event)
        if self._may_call and isinstance(event, CallStarted | ArgumentDelta):
            self._has_calls = True
            return [self._chunk({"tool_calls": [_piece(event)]})]
        text = self._text.add(event)
        return [self._chunk({"content": text})] if text else []

    def _closing(self, result: RunResult) -> list[dict[str, Any]]:
        calls = client_calls(result) if self._may_call else ()
        reason = finish_reason(result, calls)
        if self._has_calls and reason == "stop":
            return [_withdrawal(result).body()]
        chunks: list[dict[str, Any]] = []
        if rest := self._text.rest(result.output):
            chunks.append(self._chunk({"content": rest}))
        chunks.append(self._chunk({}, finish_reason=reason))
        if self._include_usage:
            last = self._head.body("chat.completion.chunk")
            chunks.append({**last, "choices": [], "usage": usage_body(result.usage)})
        return chunks

    def _chunk(self, delta: dict[str, Any], *, finish_reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        body = {**self._head.body("chat.completion.chunk"), "choices": [choice]}
        return {**body, "usage": None} if self._include_usage else body


def _piece(event: CallStarted | ArgumentDelta) -> dict[str, Any]:
    """Write a piece of a call as clients put it together, by its index."""
    if isinstance(event, ArgumentDelta):
        return {"index": event.position, "function": {"arguments": event.text}}
    function = {"name": event.name, "arguments": ""}
    return {"index": event.position, "id": event.id, "type": "function", "function": function}


def _withdrawal(result: RunResult) -> ApiError:
    faults = ", ".join(result.interaction.turns[-1].reply.faults)
    return ApiError(
        500,
        f"the model's tool calls turned out malformed ({faults}); run none that this stream began, "
        "and ask again",
        code="calls_withdrawn",
    )


class _StreamedText:
    """The text of a stream. An answer that holds a tag cannot be used and is cut before the tag;
    what comes in its place follows after a blank line."""

    def __init__(self) -> None:
        self._sent: list[str] = []  # of this turn's answer
        self._held = ""  # what may yet become a tag, and white space before it
        self._is_cut = False
        self._turn_is_over = False
        self._sent_before = False  # whether anything of an earlier turn went out

    def add(self, event: RunEvent) -> str:
        """Return what an event lets go out."""
        if self._turn_is_over and not isinstance(event, ToolsFinished):
            self._sent_before = self._sent_before or bool(self._sent)
            self._sent, self._held = [], ""
            self._is_cut = self._turn_is_over = False
        if isinstance(event, AnswerDelta) and not self._is_cut:
            return self._send(self._certain(event.text))
        self._turn_is_over = self._turn_is_over or isinstance(event, TurnFinished)
        return ""

    def rest(self, output: str) -> str:
        """Return what is missing of the run's output when it has ended."""
        sent = "".join(self._sent)
        if output.startswith(sent):
            return self._send(output[len(sent) :])
        self._sent_before, self._sent = True, []
        return self._send(output)

    def _certain(self, text: str) -> str:
        """Return the part of what there is before any tag, or what may yet become one."""
        text = self._held + text
        tags = [place for tag in _TAGS if (place := text.find(tag)) >= 0]
        self._is_cut = bool(tags)
        end = min(tags, default=len(text))
        start = text.rfind("<", 0, end)
        if start >= 0 and not tags and any(tag.startswith(text[start:]) for tag in _TAGS):
            end = start
        certain = text[:end].rstrip()
        self._held = text[len(certain) :]
        return certain

    def _send(self, text: str) -> str:
        if not text:
            return ""
        between = BETWEEN if self._sent_before and not self._sent else ""
        self._sent.append(text)
        return between + text
