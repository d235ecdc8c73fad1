"""A written-out conversation as examples: each step of the assistant is asked of what led to it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

from tool_registry.calls import ToolCall, canonical_json
from tooln1_agent.datasets.entries import read_json
from tooln1_agent.datasets.rows import (
    AFTER_RESULTS,
    BAD_CALL,
    NO_QUESTION,
    NO_STEP,
    PLAIN_ANSWER,
    UNKNOWN_TOOL,
    BenchmarkRow,
    Skipped,
)
from tooln1_agent.datasets.schemas import Tools
from tooln1_agent.errors import RowRefused
from tooln1_agent.examples import Exact
from tooln1_agent.messages import Message


class Step(NamedTuple):
    """A message of the conversation."""

    message: Message
    reason: str = ""
    """Why it may not be a target, for a message of the assistant that may not."""


def rows_of(
    steps: Iterable[Step], *, tools: Tools, source: str, name: str
) -> Iterator[BenchmarkRow | Skipped]:
    """Yield a row for each step of the assistant that calls tools, and a reason for each other.

    Args:
        name: id of the entry.
        steps: may raise `RowRefused` on the way; what came before it has been yielded then.
    """
    shown: list[Message] = []
    count = 0
    for message, reason in steps:
        if message.role == "assistant":
            count += 1
            reason = reason or _reason(message, shown, tools)
            if reason:
                yield Skipped(reason, f"step {count}")
            else:
                yield BenchmarkRow(
                    id=f"{name}:{count}",
                    source=source,
                    category="step",
                    messages=tuple(shown),
                    tools=tools.specs,
                    target=exact(message.tool_calls),
                )
        shown.append(message)
    if not count:
        yield Skipped(NO_STEP)


def exact(calls: Iterable[ToolCall]) -> Exact:
    """Return the target that these calls are, whatever their ids."""
    way = tuple(ToolCall(name=call.name, arguments=call.arguments) for call in calls)
    return Exact(alternatives=(way,))


def row_id(entry: dict[str, Any]) -> str:
    """Return an entry's id; if it has none, a hash, so that importing it again is noticed."""
    given = entry.get("id")
    if isinstance(given, str | int) and str(given):
        return str(given)
    return sha256(canonical_json(entry).encode()).hexdigest()[:16]


def read_call(entry: dict[str, Any], tools: Tools, *, call_id: str = "") -> ToolCall:
    """Read `{"name": ..., "arguments": ...}`, the arguments as an object or as JSON text."""
    name, arguments = entry.get("name"), entry.get("arguments", {})
    if isinstance(arguments, str):
        try:
            arguments = read_json(arguments) if arguments.strip() else {}
        except ValueError as error:
            raise RowRefused(BAD_CALL, f"arguments of {name!r:.80}: {error}") from error
    if not isinstance(name, str) or not isinstance(arguments, dict):
        raise RowRefused(
            BAD_CALL, f"expected a name and an object of arguments, got {entry!r:.120}"
        )
    return ToolCall(id=call_id, name=tools.name(name), arguments=arguments)


def results_of(text: str, calls: Sequence[ToolCall]) -> list[Message]:
    """Return the tool messages of one text that answers a message's calls.

    A JSON list with an item for each call is split; another text answers the first of them.
    """
    try:
        items = read_json(text)
    except ValueError:
        items = None
    if len(calls) > 1 and isinstance(items, list) and len(items) == len(calls):
        texts = [item if isinstance(item, str) else _as_text(item) for item in items]
    else:
        texts = [text]
    ids: list[str | None] = [call.id for call in calls] or [None]
    return [
        Message(role="tool", content=content, tool_call_id=call_id)
        for content, call_id in zip(texts, ids, strict=False)
    ]


def _as_text(item: Any) -> str:
    return json.dumps(item, ensure_ascii=False)


def _reason(message: Message, shown: Sequence[Message], tools: Tools) -> str:
    if not any(earlier.role == "user" for earlier in shown):
        return NO_QUESTION
    if not message.tool_calls:
        return AFTER_RESULTS if shown[-1].role == "tool" else PLAIN_ANSWER
    offered = {spec.name for spec in tools.specs}
    return "" if all(call.name in offered for call in message.tool_calls) else UNKNOWN_TOOL
