"""Our own template: ChatML turns with a `tool` role and bare tool objects. The seed model's."""

from __future__ import annotations

from collections.abc import Sequence

from tool_registry.tool import ToolSpec
from tooln1_agent.messages import Message
from tooln1_agent.prompt import (
    Segment,
    call_block,
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
    segments = [ours("<|im_start|>system\n"), *system_body(system, tools), ours("<|im_end|>\n")]
    for message in rest:
        segments += [
            ours(f"<|im_start|>{message.role}\n"),
            theirs(message.content),
            *call_block(message.tool_calls),
            ours("<|im_end|>\n"),
        ]
    return merge([*segments, ours("<|im_start|>assistant\n")])


TOOLN1 = Renderer(
    name="tooln1",
    version="tooln1-chatml-1",
    render=render,
    controls=("<|im_start|>", "<|im_end|>"),
    ends=("<|im_end|>",),
)
