"""What a run tells whoever watches it, in order: pieces of text, turns, results, the end."""

from __future__ import annotations

from dataclasses import dataclass

from tool_registry.calls import ToolResult
from tooln1_agent.messages import Message, Usage
from tooln1_agent.reply_events import Event
from tooln1_agent.transcript import Interaction, Stop, Turn, prompt_of_turn


@dataclass(frozen=True, slots=True)
class TurnFinished:
    """A model call has ended and its turn is recorded; its tools have not run yet."""

    index: int
    turn: Turn


@dataclass(frozen=True, slots=True)
class ToolsFinished:
    """The calls of the turn at `index` have run and their results are recorded."""

    index: int
    results: tuple[ToolResult, ...]


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended; always the last event."""

    output: str
    """The answer; where `stop` is not "answer", what there is instead, in plain words."""
    stop: Stop
    interaction: Interaction
    """As recorded: the prompt, the tools and every turn."""
    usage: Usage
    """Summed over the turns."""

    @property
    def messages(self) -> tuple[Message, ...]:
        """The whole conversation, fit to be continued."""
        return prompt_of_turn(self.interaction, len(self.interaction.turns))


RunEvent = Event | TurnFinished | ToolsFinished | RunResult
"""The pieces of text and of calls are those of `tooln1_agent.reply_events`; calls carry their ids.
What they say is provisional until the `TurnFinished` of their turn."""
