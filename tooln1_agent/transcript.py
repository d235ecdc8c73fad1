"""What happened: turns, and the interaction they belong to, as the replay store keeps them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from tool_registry.calls import ToolCall, ToolResult
from tool_registry.tool import ToolSpec
from tooln1_agent.instants import Instant
from tooln1_agent.messages import Completion, Message
from tooln1_agent.parsing import Reply

Stop = Literal[
    "answer",  # the model answered
    "no_call",  # the model said that no function fits (an empty list)
    "client_calls",  # calls were handed to the client, who runs them
    "faulty_reply",  # replies stayed malformed past the limit of retries
    "max_turns",  # the limit on turns ended the run
    "max_tokens",  # a reply was cut by its token limit, or the run's token limit was reached
    "cancelled",  # the caller went away
    "error",  # the engine failed
    "imported",  # a prompt from a file, which was never served
]


class Turn(BaseModel):
    """One model call and the tool results after it."""

    model_config = ConfigDict(frozen=True)

    completion: Completion
    reply: Reply
    """The parsed completion; its calls carry the ids that were minted for them."""
    results: tuple[ToolResult, ...] = ()
    """In agent mode what the tools returned, in the order of the calls."""
    complaint: str = ""
    """What the runtime told the model about a reply that could not be used."""
    redacted: bool = False
    """Whether texts were taken out of it or its prompt since; it has no ids and log-probs then."""


class Interaction(BaseModel):
    """One request served live, from its prompt to the last turn."""

    model_config = ConfigDict(frozen=True)

    id: str
    episode: str
    """The conversation: requests linked by tool-call ids that we minted."""
    agent: str = ""
    principal: str = ""
    """Who asked: the name of the API key, never the key."""
    base_model: str = ""
    tokenizer_hash: str = ""
    prompt_version: str = ""
    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...]
    turns: tuple[Turn, ...] = ()
    stop: Stop | None = None
    """Why it ended; None while it runs, or for ever if the process was killed."""
    no_train: bool = False
    split_place: float | None = None
    """Where it stood in the split (`examples.place_of`) before its text was redacted."""
    created_at: Instant


def turn_messages(turn: Turn) -> tuple[Message, ...]:
    """Return the messages a finished turn adds to the conversation: what was said, what came back.

    A reply that could not be used is not repeated to the model, so that malformed text never
    enters the history; only the runtime's complaint is.
    """
    reply = turn.reply
    if turn.complaint:
        return (Message(role="tool", content=turn.complaint),)
    if not reply.calls:
        return (Message(role="assistant", content=reply.answer or ""),)
    said = Message(role="assistant", tool_calls=reply.calls)
    came_back = tuple(
        Message(role="tool", content=result.content, tool_call_id=result.call.id)
        for result in turn.results
    )
    return (said, *came_back)


def prompt_of_turn(interaction: Interaction, index: int) -> tuple[Message, ...]:
    """Return the messages that the model was shown for the turn at `index`."""
    shown = list(interaction.messages)
    for turn in interaction.turns[:index]:
        shown += turn_messages(turn)
    return tuple(shown)


def with_call_ids(reply: Reply, ids: tuple[str, ...]) -> Reply:
    """Return the reply with an id on each of its calls."""
    calls: tuple[ToolCall, ...] = tuple(
        call.model_copy(update={"id": call_id})
        for call, call_id in zip(reply.calls, ids, strict=True)
    )
    return reply.model_copy(update={"calls": calls})
