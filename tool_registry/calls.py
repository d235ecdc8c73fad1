"""What a model asks for and what it gets back: a call, and the result of a call.

This module alone knows the canonical form, the text by which two calls are found to be the same.
"""

import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

__all__ = ["Failure", "ToolCall", "ToolResult", "canonical_json"]

Failure = Literal["unknown_tool", "invalid_arguments", "retry", "timeout", "exception", "cancelled"]


def canonical_json(value: Any) -> str:
    """The one JSON text of ``value``: sorted keys, no spaces, ASCII only.

    ASCII keeps the text encodable even where a string holds half a surrogate pair.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


class ToolCall(BaseModel):
    """One call as the model wrote it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = ""
    """Minted by whoever logs the call; empty until then, and no part of what the call means."""
    name: str
    arguments: dict[str, Any]

    def key(self) -> str:
        """Canonical JSON of name and arguments: equal for calls that ask for the same thing.

        ``2`` and ``2.0`` give different keys: whether they mean the same is the reward's business.
        """
        return canonical_json({"name": self.name, "arguments": self.arguments})

    def __hash__(self) -> int:
        """Hash by name only, so that equal calls hash alike though ``1 == 1.0 == True``."""
        return hash((self.id, self.name))


class ToolResult(BaseModel):
    """What came of one call."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    call: ToolCall
    content: str
    """What the model is shown: the rendered value, or what went wrong and what to do."""
    ok: bool
    error: Failure | None = None
    duration_s: float = 0.0
    truncated: bool = False
    """Whether ``content`` was cut to the limit on its length."""
