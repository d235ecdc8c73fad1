"""What a tool may see besides its arguments: the dependencies of the run and the call itself."""

from dataclasses import dataclass
from typing import Any, Generic, get_origin

from typing_extensions import TypeVar

from tool_registry.calls import ToolCall

__all__ = ["RunContext", "is_run_context"]

Deps = TypeVar("Deps", default=Any)


@dataclass(frozen=True)
class RunContext(Generic[Deps]):
    """Given to a tool whose first parameter is annotated with it; never shown to the model."""

    deps: Deps
    call: ToolCall | None = None
    retry: int = 0
    """How many times the model has already been asked to correct itself in this run."""


def is_run_context(annotation: Any) -> bool:
    """Whether a parameter's annotation asks for the context, bare or as ``RunContext[Deps]``."""
    return annotation is RunContext or get_origin(annotation) is RunContext
