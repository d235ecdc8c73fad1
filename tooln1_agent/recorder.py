"""Who writes down what a run does: the replay store, or nobody."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from tool_registry.calls import ToolResult
from tooln1_agent.transcript import Interaction, Stop, Turn


class Recorder(Protocol):
    """Keeps an interaction while it happens. What a method was given is durable on its return."""

    def begin(self, interaction: Interaction) -> None:
        """Keep a new interaction, which has no turns yet."""
        ...

    def add_turn(self, interaction_id: str, index: int, turn: Turn) -> None:
        """Keep the turn at `index`, before its tools run."""
        ...

    def set_results(self, interaction_id: str, index: int, results: Sequence[ToolResult]) -> None:
        """Keep what the tools of a turn returned."""
        ...

    def finish(self, interaction_id: str, stop: Stop) -> None:
        """Keep why the interaction ended."""
        ...


class NullRecorder:
    """Keeps nothing."""

    def begin(self, interaction: Interaction) -> None:
        """Forget it."""

    def add_turn(self, interaction_id: str, index: int, turn: Turn) -> None:
        """Forget it."""

    def set_results(self, interaction_id: str, index: int, results: Sequence[ToolResult]) -> None:
        """Forget it."""

    def finish(self, interaction_id: str, stop: Stop) -> None:
        """Forget it."""
