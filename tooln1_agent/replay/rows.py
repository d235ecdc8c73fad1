"""Records to the values of a row, and back: pure, and exact in both directions.

Text that anybody wrote goes through JSON in ASCII, so a lone surrogate (half of a pair, as a JSON
body may hold one) is kept as it is. Token ids and log-probs are packed little-endian in the
smallest format that holds every one of them exactly.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from tool_registry.calls import ToolResult
from tooln1_agent.examples import LabelEvent
from tooln1_agent.messages import Completion, Message
from tooln1_agent.parsing import Reply
from tooln1_agent.transcript import Turn

_PACKED_APART = {"adapter", "prompt_ids", "completion_ids", "logprobs", "sampling_logprobs"}


def to_json(value: Any) -> str:
    """Write a JSON value in ASCII, keys in their order (a prompt shows that order)."""
    return json.dumps(value, separators=(",", ":"))


def body_of(record: BaseModel) -> str:
    """Write a record as JSON, without the fields that stand at their default."""
    return to_json(record.model_dump(exclude_defaults=True))


def read_message(body: str) -> Message:
    """Read what `body_of` wrote of a message."""
    return Message.model_validate(json.loads(body))


def content_hash(*parts: bytes) -> bytes:
    """Hash parts of which all but the last have a fixed length."""
    return hashlib.sha256(b"".join(parts)).digest()


def results_json(results: Sequence[ToolResult]) -> str:
    """Write tool results; their calls come with them, as they may have been repaired."""
    return to_json([result.model_dump(exclude_defaults=True) for result in results])


def label_json(event: LabelEvent) -> str:
    """Write a label; its time is written as ISO 8601 text."""
    return to_json({**event.model_dump(), "created_at": event.created_at.isoformat()})


TURN_COLUMNS = (
    "adapter, completion, prompt_ids, completion_ids, logprobs, reply, complaint, results, "
    "redacted, sampling_logprobs"
)


def turn_row(turn: Turn) -> tuple[Any, ...]:
    """Return the values of `TURN_COLUMNS`."""
    completion = turn.completion
    return (
        completion.adapter,
        to_json(completion.model_dump(exclude=_PACKED_APART, exclude_defaults=True)),
        pack_ints(completion.prompt_ids),
        pack_ints(completion.completion_ids),
        pack_floats(completion.logprobs),
        body_of(turn.reply),
        to_json(turn.complaint),
        results_json(turn.results),
        turn.redacted,
        pack_floats(completion.sampling_logprobs),
    )


def read_turn(row: Sequence[Any]) -> Turn:
    """Read the values of `TURN_COLUMNS` back."""
    adapter, completion, prompt_ids, completion_ids, logprobs, reply, complaint, *rest = row
    results, redacted, sampling_logprobs = rest
    return Turn(
        completion=Completion.model_validate(
            {
                **json.loads(completion),
                "adapter": adapter,
                "prompt_ids": unpack(prompt_ids),
                "completion_ids": unpack(completion_ids),
                "logprobs": unpack(logprobs),
                "sampling_logprobs": unpack(sampling_logprobs),
            }
        ),
        reply=Reply.model_validate(json.loads(reply)),
        complaint=json.loads(complaint),
        results=tuple(ToolResult.model_validate(item) for item in json.loads(results)),
        redacted=bool(redacted),
    )


def pack_ints(values: Sequence[int] | None) -> bytes | None:
    """Pack integers after one byte that names their format; None stays None."""
    if values is None:
        return None
    low, high = min(values, default=0), max(values, default=0)
    code = "q" if low < 0 or high >= 1 << 32 else "H" if high < 1 << 16 else "I"
    return code.encode() + struct.pack(f"<{len(values)}{code}", *values)


def pack_floats(values: Sequence[float] | None) -> bytes | None:
    """Pack numbers as float32 where that loses nothing, else as float64; None stays None."""
    if values is None:
        return None
    try:
        packed = struct.pack(f"<{len(values)}f", *values)
        if struct.unpack(f"<{len(values)}f", packed) == tuple(values):
            return b"f" + packed
    except OverflowError:  # a float64 beyond float32's range
        pass
    return b"d" + struct.pack(f"<{len(values)}d", *values)


def unpack(packed: bytes | None) -> tuple[Any, ...] | None:
    """Undo `pack_ints` and `pack_floats`."""
    if packed is None:
        return None
    code = packed[:1].decode()
    count = (len(packed) - 1) // struct.calcsize(f"<{code}")
    return struct.unpack(f"<{count}{code}", packed[1:])
