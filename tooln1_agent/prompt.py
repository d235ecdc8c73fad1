"""What all templates share: text of known trust, the system text, how calls and tools are written.

A rendered prompt is a tuple of segments. Trusted segments are a template's own and may encode to
control tokens; everything a person, a tool or an operator wrote is untrusted and can never become
one (see `codec`). What a family of models puts around its turns stands in `renderers`.

The system text follows Tool-N1 (arXiv 2505.00024, appendix): functions one JSON object a line in
`<tools>`, thoughts in `<think>`, one JSON list in `<tool_call>`. Past thoughts are dropped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from tool_registry.calls import ToolCall
from tool_registry.tool import ToolSpec
from tooln1_agent.messages import Message

_HALF_PAIR = re.compile("[\ud800-\udfff]")
_TOOLS_HEAD = "# Tools\nYou may call these functions:\n<tools>\n"
_TOOLS_TAIL = (
    "</tools>\nThink inside <think></think> first. Then either call functions with one JSON list, "
    '<tool_call>[{"name": ..., "arguments": {...}}]</tool_call>, or, when no function fits or a '
    "required value is missing, answer in plain text."
)
_NO_TOOLS = "Think inside <think></think> first, then answer in plain text."


class Segment(NamedTuple):
    """A stretch of prompt text and whether the template itself wrote it."""

    text: str
    trusted: bool


def ours(text: str) -> Segment:
    """Return text that the template wrote."""
    return Segment(text, True)


def theirs(text: str) -> Segment:
    """Return text that somebody else wrote."""
    return Segment(text, False)


def leading_system(
    messages: Sequence[Message],
) -> tuple[Sequence[Message], Sequence[Message]]:
    """Cut a conversation after the system messages that it begins with."""
    head = 0
    while head < len(messages) and messages[head].role == "system":
        head += 1
    return messages[:head], messages[head:]


def tool_line(spec: ToolSpec) -> str:
    """Write one tool as the JSON object that stands on its line in `<tools>`."""
    return _json(_function(spec))


def function_line(spec: ToolSpec) -> str:
    """Write one tool in the wrapper that most families of models were trained on."""
    return _json({"type": "function", "function": _function(spec)})


def system_body(
    messages: Iterable[Message],
    tools: Sequence[ToolSpec],
    *,
    line: Callable[[ToolSpec], str] = tool_line,
) -> list[Segment]:
    """Return the system text: what the messages say, the tools, and how to reply.

    Args:
        messages: the system messages.
        line: writes a tool.
    """
    segments: list[Segment] = []
    for message in messages:
        if message.content:
            segments += [theirs(message.content), ours("\n\n")]
    if not tools:
        return [*segments, ours(_NO_TOOLS)]
    segments.append(ours(_TOOLS_HEAD))
    for spec in tools:
        segments += [theirs(line(spec)), ours("\n")]
    return [*segments, ours(_TOOLS_TAIL)]


def system_text(messages: Iterable[Message], tools: Sequence[ToolSpec]) -> str:
    """Return the system text of a conversation: for engines that take chat messages."""
    return text_of(system_body([m for m in messages if m.role == "system"], tools))


def call_block(calls: Sequence[ToolCall]) -> list[Segment]:
    """Return past calls as the reply grammar has them; nothing where there are none."""
    if not calls:
        return []
    return [ours("<tool_call>"), theirs(calls_text(calls)), ours("</tool_call>")]


def calls_text(calls: Iterable[ToolCall]) -> str:
    """Write calls as the JSON list that stands between the `<tool_call>` tags."""
    return _json([{"name": call.name, "arguments": call.arguments} for call in calls])


def encodable(text: str) -> str:
    """Replace what is no text: half of a surrogate pair, as a tool may return it, by U+FFFD."""
    return _HALF_PAIR.sub("\ufffd", text)


def text_of(segments: Iterable[Segment]) -> str:
    """Return segments as one string: for reading, and for engines without ids."""
    return encodable("".join(text for text, _ in segments))


def merge(segments: Iterable[Segment]) -> tuple[Segment, ...]:
    """Join neighbours of equal trust, so that the cut into segments is canonical."""
    merged: list[Segment] = []
    for raw in segments:
        segment = Segment(encodable(raw.text), raw.trusted)
        if merged and merged[-1].trusted == segment.trusted:
            merged[-1] = Segment(merged[-1].text + segment.text, segment.trusted)
        elif segment.text:
            merged.append(segment)
    return tuple(merged)


def _function(spec: ToolSpec) -> dict[str, object]:
    return {"name": spec.name, "description": spec.description, "parameters": spec.parameters}


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
