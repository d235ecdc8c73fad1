"""An episode as a list of steps: each turn with the prompt it saw and what came of its calls.

In agent mode the outcome of a call is recorded. In client mode the client ran it, and only the
text of its result comes back in a later request: such a call counts as failed if it names a tool
that was not offered, breaks its schema, or if the text reads as an error.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tool_registry.calls import Failure, ToolCall
from tool_registry.errors import InvalidTool
from tool_registry.tool import ToolSpec
from tool_registry.validation import validate_arguments
from tooln1_agent.messages import Message
from tooln1_agent.transcript import Interaction, Turn, prompt_of_turn
from tooln1_agent.verdict import verdict

Outcome = Literal["ok", "unknown"] | Failure
"""What came of a call; "unknown" where no result came back."""

_ERROR_OPENINGS = ("error", "traceback (most recent call last)", "exception")


@dataclass(frozen=True, slots=True)
class Step:
    """One turn of an episode."""

    interaction: Interaction
    index: int
    """Of the turn in its interaction."""
    turn: Turn
    prompt: tuple[Message, ...]
    calls: tuple[ToolCall, ...]
    """As they ran: without ids, and with the arguments that the runtime may have repaired."""
    outcomes: tuple[Outcome, ...]
    """One for each call."""

    @property
    def is_malformed(self) -> bool:
        """Whether the reply could not be used."""
        return verdict(self.turn.reply) == "unusable"

    @property
    def has_failed(self) -> bool:
        """Whether the reply, or one of its calls, is known to have failed."""
        return self.is_malformed or any(o not in ("ok", "unknown") for o in self.outcomes)

    @property
    def went_well(self) -> bool:
        """Whether the reply has no fault and every call is known to have succeeded."""
        return not self.turn.reply.faults and all(o == "ok" for o in self.outcomes)

    @property
    def where(self) -> str:
        return f"turn {self.index} of {self.interaction.id}"


def steps_of(episode: Sequence[Interaction]) -> list[Step]:
    """Return the steps of an episode whose interactions are given in order."""
    came_back = {
        message.tool_call_id: message.content
        for interaction in episode
        for message in interaction.messages
        if message.role == "tool" and message.tool_call_id
    }
    return [
        _step(interaction, index, turn, came_back)
        for interaction in episode
        for index, turn in enumerate(interaction.turns)
    ]


def _step(interaction: Interaction, index: int, turn: Turn, came_back: dict[str, str]) -> Step:
    if turn.results:
        ran = [result.call for result in turn.results]
        outcomes = [_recorded(result.ok, result.error) for result in turn.results]
    else:
        specs = {spec.name: spec for spec in interaction.tools}
        ran = list(turn.reply.calls)
        outcomes = [_client_outcome(call, specs, came_back.get(call.id)) for call in ran]
    return Step(
        interaction=interaction,
        index=index,
        turn=turn,
        prompt=prompt_of_turn(interaction, index),
        calls=tuple(ToolCall(name=call.name, arguments=call.arguments) for call in ran),
        outcomes=tuple(outcomes),
    )


def _recorded(ok: bool, error: Failure | None) -> Outcome:
    return "ok" if ok else error or "exception"


def _client_outcome(call: ToolCall, specs: dict[str, ToolSpec], content: str | None) -> Outcome:
    if call.name not in specs:
        return "unknown_tool"
    try:
        if validate_arguments(specs[call.name], call.arguments) is not None:
            return "invalid_arguments"
    except InvalidTool:  # its schema cannot be used, so nothing is known of the call
        return "unknown"
    if content is None:
        return "unknown"
    return "exception" if _reads_as_error(content) else "ok"


def _reads_as_error(content: str) -> bool:
    if content.strip().casefold().startswith(_ERROR_OPENINGS):
        return True
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and bool(value.get("error"))
