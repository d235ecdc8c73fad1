"""What this package raises when the operator, not the model, got something wrong.

    ToolRegistryError
    ├── InvalidTool     a function or a schema cannot be offered to a model (also a ValueError)
    ├── DuplicateTool   two tools of one registry share a name (also a ValueError)
    └── UnknownTool     a lookup by a name that is not registered (also a KeyError)

What a model gets wrong is never raised: it becomes a failed ``ToolResult``. ``ToolRetry`` stands
apart: a tool raises it, to speak to the model.
"""

__all__ = ["DuplicateTool", "InvalidTool", "ToolRegistryError", "ToolRetry", "UnknownTool"]


class ToolRegistryError(Exception):
    """Base of every error this package raises on purpose."""


class InvalidTool(ToolRegistryError, ValueError):
    """A function or a schema cannot become a tool; the message names the part and the remedy."""


class DuplicateTool(ToolRegistryError, ValueError):
    """Two tools of one registry share a name."""


class UnknownTool(ToolRegistryError, KeyError):
    """No tool of that name is registered."""

    def __str__(self) -> str:
        """The message itself; ``KeyError`` alone would show its repr."""
        return str(self.args[0]) if self.args else ""


class ToolRetry(Exception):
    """Raised by a tool to ask the model for another try; the message is shown to the model."""
