"""Takes given texts out of records, and puts the same placeholder for each wherever it stood.

A prompt and its labels stay in step: what the request called `[redacted-…]`, its target calls so
too. Token ids and log-probs cannot be redacted; they are dropped.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable, Mapping
from typing import Any

from tool_registry.calls import ToolCall, ToolResult
from tooln1_agent.errors import ConfigError
from tooln1_agent.examples import Exact, LabelEvent, Possible, PossibleCall, Target, Verify
from tooln1_agent.messages import Completion, Message
from tooln1_agent.transcript import Turn

MIN_CHARS = 3
"""A shorter text stands in too many words to be taken out of all of them."""


class Redactor:
    """Replaces texts by placeholders, in every way of writing them that a record may hold."""

    def __init__(self, placeholders: Mapping[str, str]) -> None:
        """Take what to replace by what; see `placeholders_for`."""
        self._known = {
            form: placeholder for text, placeholder in placeholders.items() for form in _forms(text)
        }
        longest_first = sorted(self._known, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)))

    def text(self, text: str) -> str:
        """Return a text without them, be they written plainly or as inside JSON."""
        return self._pattern.sub(lambda match: self._known[match.group()], text)

    def value(self, value: Any) -> Any:
        """Return a JSON value without them; a number that is one of them becomes text."""
        match value:
            case str():
                return self.text(value)
            case dict():
                return {self.text(key): self.value(item) for key, item in value.items()}
            case list() | tuple():
                return [self.value(item) for item in value]
            case int() | float() if not isinstance(value, bool):
                return self._known.get(json.dumps(value), value)
            case _:
                return value

    def call(self, call: ToolCall) -> ToolCall:
        """Return a call without them; its name stays."""
        return call.model_copy(update={"arguments": self.value(call.arguments)})

    def message(self, message: Message) -> Message:
        """Return a message without them."""
        calls = tuple(map(self.call, message.tool_calls))
        return message.model_copy(
            update={"content": self.text(message.content), "tool_calls": calls}
        )

    def turn(self, turn: Turn) -> Turn:
        """Return a turn without them; it is not marked, and keeps its ids."""
        reply = turn.reply
        changes = {
            "think": self.text(reply.think),
            "calls": tuple(map(self.call, reply.calls)),
            "answer": None if reply.answer is None else self.text(reply.answer),
        }
        completion = turn.completion
        text = self.text(completion.text)
        return turn.model_copy(
            update={
                "completion": completion.model_copy(update={"text": text}),
                "reply": reply.model_copy(update=changes),
                "results": tuple(map(self._result, turn.results)),
                "complaint": self.text(turn.complaint),
            }
        )

    def label(self, event: LabelEvent) -> LabelEvent:
        """Return a label without them; who gave it stays."""
        target = None if event.target is None else self._target(event.target)
        return event.model_copy(update={"target": target, "evidence": self.text(event.evidence)})

    def _result(self, result: ToolResult) -> ToolResult:
        changes = {"call": self.call(result.call), "content": self.text(result.content)}
        return result.model_copy(update=changes)

    def _target(self, target: Target) -> Target:
        match target:
            case Exact(alternatives=ways):
                return Exact(alternatives=tuple(tuple(map(self.call, way)) for way in ways))
            case Possible(calls=calls):
                given = [(call.name, self.value(call.arguments)) for call in calls]
                return Possible(calls=tuple(PossibleCall(name=n, arguments=a) for n, a in given))
            case Verify(given=given):
                return target.model_copy(update={"given": self.value(given)})
            case _:
                return target


def without_ids(turn: Turn) -> Turn:
    """Return a turn marked as redacted, without what its tokens would tell."""
    told = [name for name in Completion.model_fields if name.endswith(("_ids", "logprobs"))]
    completion = turn.completion.model_copy(update=dict.fromkeys(told))
    return turn.model_copy(update={"completion": completion, "redacted": True})


def placeholders_for(texts: Iterable[str]) -> dict[str, str]:
    """Return a new placeholder for each text: one that says nothing of it and occurs nowhere else.

    Raises:
        ConfigError: there is none, or one is too short.
    """
    wanted = list(dict.fromkeys(text.strip() for text in texts))
    for text in wanted:
        if len(text) < MIN_CHARS:
            raise ConfigError(f"cannot redact {text!r}: give at least {MIN_CHARS} characters")
    if not wanted:
        raise ConfigError("there is no text to redact")
    return {text: f"[redacted-{secrets.token_hex(4)}]" for text in wanted}


def _forms(text: str) -> set[str]:
    """Return how a text may be written: as it is, and as inside a JSON string."""
    return {text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}
