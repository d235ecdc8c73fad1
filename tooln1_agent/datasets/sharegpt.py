"""The ShareGPT form with tools, as LLaMA-Factory reads it.

`{"conversations": [{"from", "value"}], "system"?, "tools"?}`, said by `human`, `gpt`,
`function_call` (JSON, one call or a list of them), `observation` or `system`; `tools` is a JSON
list of function descriptions, as text or as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tool_registry.calls import ToolCall
from tooln1_agent.datasets.conversation import Step, read_call, results_of, row_id, rows_of
from tooln1_agent.datasets.entries import read_json
from tooln1_agent.datasets.rows import (
    BAD_CALL,
    BAD_TOOL,
    NOT_OF_FORM,
    BenchmarkRow,
    Skipped,
    key,
    objects,
    text_of,
)
from tooln1_agent.datasets.schemas import Tools, read_tools
from tooln1_agent.errors import RowRefused
from tooln1_agent.messages import Message, Role

_SPEAKERS: dict[Any, Role] = {"human": "user", "gpt": "assistant", "system": "system"}


def read_sharegpt(entry: dict[str, Any]) -> Iterator[BenchmarkRow | Skipped]:
    """Yield a row for each step that calls; raises `RowRefused`."""
    said = objects(key(entry, "conversations"), what="conversations")
    tools = read_tools(_functions(entry.get("tools")))
    steps = _steps(entry.get("system"), said, tools)
    yield from rows_of(steps, tools=tools, source="sharegpt", name=row_id(entry))


def _functions(written: Any) -> list[dict[str, Any]]:
    if not written:
        return []
    if isinstance(written, str):
        try:
            written = read_json(written) if written.strip() else []
        except ValueError as error:
            raise RowRefused(BAD_TOOL, f"tools: {error}") from error
    return objects(written, what="tools", reason=BAD_TOOL)


def _steps(system: Any, said: list[dict[str, Any]], tools: Tools) -> Iterator[Step]:
    if isinstance(system, str) and system.strip():
        yield Step(Message(role="system", content=system))
    calls: tuple[ToolCall, ...] = ()
    for number, entry in enumerate(said, 1):
        speaker, value = key(entry, "from"), text_of(entry, "value")
        if speaker == "function_call":
            calls = _calls(value, tools, number=number)
            yield Step(Message(role="assistant", tool_calls=calls))
        elif speaker == "observation":
            yield from map(Step, results_of(value, calls))
        elif speaker in _SPEAKERS:
            yield Step(Message(role=_SPEAKERS[speaker], content=value))
        else:
            raise RowRefused(
                NOT_OF_FORM,
                "from: expected human, gpt, function_call, observation or system, "
                f"got {speaker!r:.80}",
            )


def _calls(text: str, tools: Tools, *, number: int) -> tuple[ToolCall, ...]:
    try:
        written = read_json(text)
    except ValueError as error:
        raise RowRefused(BAD_CALL, f"message {number}: {error}") from error
    listed = objects(
        written if isinstance(written, list) else [written],
        what=f"message {number}",
        reason=BAD_CALL,
    )
    if not listed:
        raise RowRefused(BAD_CALL, f"message {number}: an empty list of calls")
    return tuple(
        read_call(each, tools, call_id=f"call_{number}_{at}") for at, each in enumerate(listed)
    )
