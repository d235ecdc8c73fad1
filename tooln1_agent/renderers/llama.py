"""Llama 3.x: a header before each turn, tool results under the role `ipython`."""

from __future__ import annotations

from collections.abc import Sequence

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
    body = system_body(system, tools, line=function_line)
    segments = [ours("<|begin_of_text|>"), *_turn("system", body)]
    for message in rest:
        role = "ipython" if message.role == "tool" else message.role
        segments += _turn(role, [theirs(message.content), *call_block(message.tool_calls)])
    return merge([*segments, _header("assistant")])


def _turn(role: str, body: Sequence[Segment]) -> list[Segment]:
    return [_header(role), *body, ours("<|eot_id|>")]


def _header(role: str) -> Segment:
    return ours(f"<|start_header_id|>{role}<|end_header_id|>\n\n")


LLAMA = Renderer(
    name="llama",
    version="llama-1",
    render=render,
    controls=("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    ends=("<|eot_id|>", "<|eom_id|>", "<|end_of_text|>"),
)
