"""What a family's renderer is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tool_registry.tool import ToolSpec
from tooln1_agent.messages import Message
from tooln1_agent.prompt import Segment


@dataclass(frozen=True, slots=True)
class Renderer:
    """The template of one family of models."""

    name: str
    version: str
    """Stored with interactions and adapters. Change it whenever a rendered byte changes."""
    render: Callable[[Sequence[Message], Sequence[ToolSpec]], tuple[Segment, ...]]
    """Renders a conversation up to where the assistant's next reply begins."""
    controls: tuple[str, ...]
    """The control tokens that it writes; a tokenizer of the family has them all."""
    ends: tuple[str, ...]
    """What ends a reply: first the control token that it closes a turn with, then what else
    models of the family end with, where the tokenizer has it."""
    not_with: tuple[str, ...] = ()
    """Control tokens of other generations of the family, which are written differently."""
