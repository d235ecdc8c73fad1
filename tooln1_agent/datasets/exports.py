"""Examples as rows for elsewhere: OpenAI's chat form, TRL, verl, and tables. Pure.

TRL and verl get our own prompt, tools and all, as plain chat messages: the model is told the reply
format that `tooln1_agent.datasets.rewards` scores, whatever its chat template knows of tools. verl
gets its ids, too.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tool_registry.calls import ToolCall
from tooln1_agent.codec import Codec
from tooln1_agent.datasets.records import record_line
from tooln1_agent.engines.chat_format import chat_messages
from tooln1_agent.errors import RowRefused
from tooln1_agent.examples import Exact, Example, LabelEvent, NoCall, Verify
from tooln1_agent.messages import Message
from tooln1_agent.prompt import encodable
from tooln1_agent.replay.rows import to_json
from tooln1_agent.transcript import Interaction

SEVERAL_WAYS = "a target of several ways"
NO_LIST = "a target that is no list of calls"
NEEDS_RUNNING = "a target that only running the calls can judge"
STRAY_RESULT = "a tool message that answers no call"
DATA_SOURCE = "tooln1-agent"
NO_CALL_TEXT = "None of the functions fits this request."
"""What the assistant says where calling nothing is right and no answer was logged."""


def openai_row(example: Example, *, answer: str | None = None) -> dict[str, Any]:
    """Return a chat with its tools, the target as its last message.

    Args:
        answer: what was said where nothing was to be called; by default a fixed sentence.

    Raises:
        RowRefused: the example cannot be said in this form.
    """
    match example.target:
        case Exact(alternatives=(way,)):
            numbered = enumerate(way)
            calls = [call.model_copy(update={"id": f"call_target_{n}"}) for n, call in numbered]
            last = Message(role="assistant", tool_calls=tuple(calls))
        case Exact():
            raise RowRefused(SEVERAL_WAYS)
        case NoCall():
            last = Message(role="assistant", content=answer or NO_CALL_TEXT)
        case _:
            raise RowRefused(NO_LIST)
    row: dict[str, Any] = {"messages": [*_openai_messages(example.messages), _openai(last)]}
    return row | ({"tools": [spec.to_openai() for spec in example.tools]} if example.tools else {})


def trl_row(example: Example) -> dict[str, Any]:
    """Return a conversational prompt, and tools and target as JSON text for a reward function.

    Raises:
        RowRefused: its reward takes more than the reply.
    """
    _refuse_verify(example)
    return {
        "prompt": chat_messages(example.messages, example.tools),
        "tools": _tools_json(example),
        "target": to_json(example.target.model_dump()),
        "example": example.id,
        "split": example.split,
    }


def verl_row(example: Example, *, index: int, codec: Codec) -> dict[str, Any]:
    """Return a row of verl's data format; the ground truth is JSON of target and tools.

    Args:
        codec: of the model to train; `prompt_ids` are those that it is served with.

    Raises:
        RowRefused: its reward takes more than the reply.
    """
    _refuse_verify(example)
    truth = {
        "target": example.target.model_dump(),
        "tools": [spec.model_dump() for spec in example.tools],
    }
    return {
        "data_source": DATA_SOURCE,
        "prompt": chat_messages(example.messages, example.tools),
        "ability": "tool_use",
        "reward_model": {"style": "rule", "ground_truth": to_json(truth)},
        "extra_info": {
            "index": index,
            "split": example.split,
            "example": example.id,
            "label_source": example.source,
            "prompt_ids": codec.prompt_ids(example.messages, example.tools),
            "tokenizer": codec.hash,
        },
    }


def example_row(example: Example) -> dict[str, Any]:
    """Return an example as it is, as JSON."""
    return {**example.model_dump(), "created_at": example.created_at.isoformat()}


def example_columns(example: Example) -> dict[str, Any]:
    """Return an example as columns: what has parts of its own is JSON text."""
    return {
        "id": example.id,
        "split": example.split,
        "source": example.source,
        "messages": to_json([message.model_dump() for message in example.messages]),
        "tools": _tools_json(example),
        "target": to_json(example.target.model_dump()),
        "interaction": example.interaction or "",
        "turn": example.turn,
        "created_at": example.created_at.isoformat(),
    }


def interaction_columns(interaction: Interaction, labels: Sequence[LabelEvent]) -> dict[str, Any]:
    """Return an interaction as columns; `record` holds all of it, in our own form."""
    return {
        "id": interaction.id,
        "episode": interaction.episode,
        "agent": interaction.agent,
        "principal": interaction.principal,
        "base_model": interaction.base_model,
        "stop": interaction.stop or "",
        "no_train": interaction.no_train,
        "turns": len(interaction.turns),
        "labels": len(labels),
        "created_at": interaction.created_at.isoformat(),
        "record": record_line(interaction, labels),
    }


def _refuse_verify(example: Example) -> None:
    if isinstance(example.target, Verify):
        raise RowRefused(NEEDS_RUNNING)


def _tools_json(example: Example) -> str:
    return to_json([spec.model_dump() for spec in example.tools])


def _openai_messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Return messages in OpenAI's form, which asks that each result answers a call.

    What the assistant said there is context: nobody vouches for it, so its weight is 0.
    """
    asked: set[str | None] = set()
    for message in messages:
        if message.role == "tool" and message.tool_call_id not in asked:
            raise RowRefused(STRAY_RESULT)
        asked |= {call.id for call in message.tool_calls if call.id}
    said = [_openai(message) for message in messages]
    return [each | {"weight": 0} if each["role"] == "assistant" else each for each in said]


def _openai(message: Message) -> dict[str, Any]:
    text = encodable(message.content)
    said: dict[str, Any] = {"role": message.role, "content": text}
    if message.tool_calls:
        calls = [_openai_call(call, n) for n, call in enumerate(message.tool_calls)]
        return said | {"content": text or None, "tool_calls": calls}
    return said | ({"tool_call_id": message.tool_call_id} if message.role == "tool" else {})


def _openai_call(call: ToolCall, number: int) -> dict[str, Any]:
    arguments = encodable(json.dumps(call.arguments, ensure_ascii=False))
    function = {"name": call.name, "arguments": arguments}
    return {"id": call.id or f"call_{number}", "type": "function", "function": function}
