"""OpenAI's chat and fine-tuning form: messages, tools, and the calls of assistant messages.

`{"messages": [...], "tools"?: [...], "parallel_tool_calls"?: bool}`. A message with `"weight": 0`
is context only, as in OpenAI's fine-tuning.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tool_registry.calls import ToolCall
from tooln1_agent.datasets.conversation import Step, read_call, row_id, rows_of
from tooln1_agent.datasets.rows import (
    BAD_CALL,
    BAD_MESSAGE,
    BAD_TOOL,
    NOT_OF_FORM,
    BenchmarkRow,
    Skipped,
    key,
    objects,
)
from tooln1_agent.datasets.schemas import Tools, read_tools
from tooln1_agent.errors import RowRefused
from tooln1_agent.messages import Message, Role

NOT_TRAINED = "a message of weight 0"
NOT_ONE_CALL = "several calls where parallel_tool_calls is false"
_ROLES: dict[Any, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}


def read_openai(entry: dict[str, Any]) -> Iterator[BenchmarkRow | Skipped]:
    """Yield a row for each step that calls; raises `RowRefused`."""
    messages = objects(key(entry, "messages"), what="messages")
    if "match" in entry and "expected" in entry:
        raise RowRefused(NOT_OF_FORM, "the calls stand under 'expected', not in messages")
    functions = objects(entry.get("tools") or [], what="tools", reason=BAD_TOOL)
    tools = read_tools(functions, as_written=True)
    at_most = 1 if entry.get("parallel_tool_calls") is False else None
    steps = (_step(message, tools, at_most=at_most) for message in messages)
    yield from rows_of(steps, tools=tools, source="openai", name=row_id(entry))


def _step(entry: dict[str, Any], tools: Tools, *, at_most: int | None) -> Step:
    role = _ROLES.get(entry.get("role"))
    if role is None:
        raise RowRefused(BAD_MESSAGE, f"role: expected one of {', '.join(_ROLES)}")
    call_id = entry.get("tool_call_id")
    if not isinstance(call_id, str | None):
        raise RowRefused(BAD_MESSAGE, f"tool_call_id: expected text, got {call_id!r:.80}")
    calls = _calls(entry, tools)
    message = Message(
        role=role, content=_text(entry.get("content")), tool_calls=calls, tool_call_id=call_id
    )
    if entry.get("weight") == 0:
        return Step(message, NOT_TRAINED)
    return Step(message, NOT_ONE_CALL if at_most and len(calls) > at_most else "")


def _calls(entry: dict[str, Any], tools: Tools) -> tuple[ToolCall, ...]:
    listed = objects(entry.get("tool_calls") or [], what="tool_calls", reason=BAD_CALL)
    calls = []
    for each in listed:
        function, call_id = each.get("function"), each.get("id") or ""
        if not isinstance(function, dict) or not isinstance(call_id, str):
            raise RowRefused(BAD_CALL, f"expected an id and a function, got {each!r:.120}")
        calls.append(read_call(function, tools, call_id=call_id))
    return tuple(calls)


def _text(content: Any) -> str:
    """Return a message's text, which may be written in parts."""
    if content is None or isinstance(content, str):
        return content or ""
    parts = objects(content, what="content", reason=BAD_MESSAGE)
    texts = [part.get("text") if part.get("type") == "text" else None for part in parts]
    if not all(isinstance(text, str) for text in texts):
        raise RowRefused(BAD_MESSAGE, "content: expected text only")
    return "".join(map(str, texts))
