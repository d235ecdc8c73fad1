"""Tools for language models: describe a function, check a call, run it."""

from tool_registry.calls import ToolCall, ToolResult
from tool_registry.context import RunContext
from tool_registry.errors import ToolRegistryError, ToolRetry
from tool_registry.registry import Registry
from tool_registry.tool import Tool, ToolSpec, tool

__all__ = [
    "Registry",
    "RunContext",
    "Tool",
    "ToolCall",
    "ToolRegistryError",
    "ToolResult",
    "ToolRetry",
    "ToolSpec",
    "tool",
]
