"""BFCL's rule: each argument is one of a list of acceptable values (gorilla, `ast_checker`)."""

from __future__ import annotations

from collections.abc import Sequence

from tool_registry.calls import ToolCall
from tool_registry.tool import ToolSpec
from tooln1_agent.examples import Possible


def matches_possible(
    calls: Sequence[ToolCall], *, tools: Sequence[ToolSpec], target: Possible
) -> str | None:
    """Return None where the calls are acceptable, else what is wrong with them in a few words."""
    raise NotImplementedError
