"""The prompt: how messages and tools become text, and which of that text is ours.

A rendered prompt is a tuple of segments. Trusted segments are the template's own and may encode
to control tokens; everything a person, a tool or an operator wrote is untrusted and is encoded
with a tokenizer that has no added tokens, so it can never become one (see `codec`).

The template follows Tool-N1 (arXiv 2505.00024, appendix): functions one JSON object a line in
`<tools>`, thoughts in `<think>`, one JSON list in `<tool_call>`. Past thoughts are dropped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tool_registry.calls import ToolCall
from tool_registry.tool import ToolSpec
from tooln1_agent.messages import Message

PROMPT_VERSION = "tooln1-chatml-1"
"""Names the template; stored with each interaction. Change it whenever a rendered byte changes."""

TURN_END = "<|im_end|>"

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


def render(messages: Sequence[Message], tools: Sequence[ToolSpec]) -> tuple[Segment, ...]:
    """Render a conversation up to the point where the assistant's next reply begins."""
    segments: list[Segment] = []
    head = 0
    while head < len(messages) and messages[head].role == "system":
        head += 1
    _system(segments, [m.content for m in messages[:head]], tools)
    for message in messages[head:]:
        _message(segments, message)
    segments.append(Segment("<|im_start|>assistant\n", True))
    return _merge(segments)


def render_text(messages: Sequence[Message], tools: Sequence[ToolSpec]) -> str:
    """Return the rendered prompt as one string: for reading, and for engines without ids."""
    return "".join(segment.text for segment in render(messages, tools))


def system_text(messages: Sequence[Message], tools: Sequence[ToolSpec]) -> str:
    """Return only the body of the system turn: for engines that take chat messages."""
    segments: list[Segment] = []
    _system(segments, [m.content for m in messages if m.role == "system"], tools)
    body = "".join(segment.text for segment in _merge(segments))
    return body.removeprefix("<|im_start|>system\n").removesuffix(f"{TURN_END}\n")


def calls_text(calls: Iterable[ToolCall]) -> str:
    """Write calls as the JSON list that stands between the `<tool_call>` tags."""
    listed = [{"name": call.name, "arguments": call.arguments} for call in calls]
    return json.dumps(listed, ensure_ascii=False)


def tool_line(spec: ToolSpec) -> str:
    """Write one tool as the JSON object that stands on its line in `<tools>`."""
    shown = {
        "name": spec.name,
        "description": spec.description,
        "parameters": spec.parameters,
    }
    return json.dumps(shown, ensure_ascii=False)


def encodable(text: str) -> str:
    """Replace what is no text: half of a surrogate pair, as a tool may return it, by U+FFFD."""
    return _HALF_PAIR.sub("\ufffd", text)


def _system(segments: list[Segment], texts: Sequence[str], tools: Sequence[ToolSpec]) -> None:
    segments.append(Segment("<|im_start|>system\n", True))
    for text in texts:
        if text:
            segments += [Segment(text, False), Segment("\n\n", True)]
    if tools:
        segments.append(Segment(_TOOLS_HEAD, True))
        for spec in tools:
            segments += [Segment(tool_line(spec), False), Segment("\n", True)]
        segments.append(Segment(_TOOLS_TAIL, True))
    else:
        segments.append(Segment(_NO_TOOLS, True))
    segments.append(Segment(f"{TURN_END}\n", True))


def _message(segments: list[Segment], message: Message) -> None:
    segments.append(Segment(f"<|im_start|>{message.role}\n", True))
    if message.content:
        segments.append(Segment(message.content, False))
    if message.tool_calls:
        segments += [
            Segment("<tool_call>", True),
            Segment(calls_text(message.tool_calls), False),
            Segment("</tool_call>", True),
        ]
    segments.append(Segment(f"{TURN_END}\n", True))


def _merge(segments: Iterable[Segment]) -> tuple[Segment, ...]:
    """Join neighbours of equal trust, so that the cut into segments is canonical."""
    merged: list[Segment] = []
    for raw in segments:
        segment = Segment(encodable(raw.text), raw.trusted)
        if merged and merged[-1].trusted == segment.trusted:
            merged[-1] = Segment(merged[-1].text + segment.text, segment.trusted)
        elif segment.text:
            merged.append(segment)
    return tuple(merged)
