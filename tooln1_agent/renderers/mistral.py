"""Mistral's third format (7B-Instruct v0.3 and its time): system text with the last user turn.

That generation has no system role: all system messages and the tools stand in front of the last
user turn's own text, and user turns that follow each other are one. Later generations, which have
a `[SYSTEM_PROMPT]` token, and Tekken vocabularies, which have `<SPECIAL_20>`, are written
differently.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import groupby

from tool_registry.tool import ToolSpec
from tooln1_agent.messages import Message
from tooln1_agent.prompt import (
    Segment,
    call_block,
    function_line,
    merge,
    ours,
    system_body,
    theirs,
)
from tooln1_agent.renderers.renderer import Renderer


def render(messages: Sequence[Message], tools: Sequence[ToolSpec]) -> tuple[Segment, ...]:
    """Render a conversation up to where the assistant's next reply begins."""
    system = [message for message in messages if message.role == "system"]
    body = system_body(system, tools, line=function_line)
    rest = [message for message in messages if message.role != "system"]
    runs = [(role, list(group)) for role, group in groupby(rest, key=lambda m: m.role)]
    last = max((at for at, (role, _) in enumerate(runs) if role == "user"), default=None)
    segments = [ours("<s>")]
    if last is None:
        segments += _asked([body])
    for at, (role, group) in enumerate(runs):
        if role == "user":
            segments += _asked(
                [*([body] if at == last else []), *([theirs(m.content)] for m in group)]
            )
        else:
            segments += [s for m in group for s in (_result(m) if role == "tool" else _said(m))]
    return merge(segments)


def _asked(parts: Sequence[Sequence[Segment]]) -> list[Segment]:
    first, *others = parts
    segments = [ours("[INST] "), *first]
    for part in others:
        segments += [ours("\n\n"), *part]
    return [*segments, ours("[/INST]")]


def _said(message: Message) -> list[Segment]:
    return [ours(" "), theirs(message.content), *call_block(message.tool_calls), ours("</s>")]


def _result(message: Message) -> list[Segment]:
    content = json.dumps({"content": message.content}, ensure_ascii=False)
    return [ours("[TOOL_RESULTS] "), theirs(content), ours("[/TOOL_RESULTS]")]


MISTRAL = Renderer(
    name="mistral",
    version="mistral-v3-1",
    render=render,
    controls=("<s>", "</s>", "[INST]", "[/INST]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]"),
    ends=("</s>",),
    not_with=("[SYSTEM_PROMPT]", "<SPECIAL_20>"),
)
