"""ChatML as Qwen 2.5, Qwen 3 and Hermes have it: tool results are blocks inside a user turn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from tool_registry.tool import ToolSpec
from tooln1_agent.messages import Message
from tooln1_agent.prompt import (
    Segment,
    call_block,
    function_line,
    leading_system,
    merge,
    ours,
    system_body,
    theirs,
)
from tooln1_agent.renderers.renderer import Renderer


def render(messages: Sequence[Message], tools: Sequence[ToolSpec]) -> tuple[Segment, ...]:
    """Render a conversation up to where the assistant's next reply begins."""
    system, rest = leading_system(messages)
    segments = _turn("system", system_body(system, tools, line=function_line))
    for role, group in groupby(rest, key=lambda message: message.role):
        if role == "tool":
            segments += _turn("user", _results(group))
        else:
            for message in group:
                segments += _turn(role, _said(message))
    return merge([*segments, ours("<|im_start|>assistant\n")])


def _turn(role: str, body: Sequence[Segment]) -> list[Segment]:
    return [ours(f"<|im_start|>{role}\n"), *body, ours("<|im_end|>\n")]


def _said(message: Message) -> list[Segment]:
    between = "\n" if message.content and message.tool_calls else ""
    return [theirs(message.content), ours(between), *call_block(message.tool_calls)]


def _results(group: Iterable[Message]) -> list[Segment]:
    """Put the results of one turn's calls together, a block each."""
    segments: list[Segment] = []
    for message in group:
        between = "\n" if segments else ""
        segments += [
            ours(f"{between}<tool_response>\n"),
            theirs(message.content),
            ours("\n</tool_response>"),
        ]
    return segments


HERMES = Renderer(
    name="hermes",
    version="hermes-1",
    render=render,
    controls=("<|im_start|>", "<|im_end|>"),
    ends=("<|im_end|>", "<|endoftext|>"),
)
