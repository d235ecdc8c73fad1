"""The form of ToolACE: the tools within the system text, calls as Python-like text.

`{"system", "conversations": [{"from": "user" | "assistant" | "tool", "value"}]}`. The system text
is an instruction for another form of reply, so only its tools are kept, and the time of day where
it tells that.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

from tool_registry.calls import ToolCall
from tooln1_agent.datasets.conversation import Step, results_of, row_id, rows_of
from tooln1_agent.datasets.python_calls import read_calls
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
from tooln1_agent.messages import Message

_SPEAKERS = ("user", "assistant", "tool")
_LIST = re.compile(r"\[(?=\s*\{)")
_TIME = re.compile(r"(?:the )?current time is [^\n\[]{1,80}?(?=\s*(?:here is|\n|$))", re.I)
_MAX_TRIES = 20
"""How many brackets of a system text may turn out not to begin the tools."""


def read_toolace(entry: dict[str, Any]) -> Iterator[BenchmarkRow | Skipped]:
    """Yield a row for each step that calls; raises `RowRefused`."""
    system = text_of(entry, "system")
    said = objects(key(entry, "conversations"), what="conversations")
    for each in said:
        if key(each, "from") not in _SPEAKERS:
            expected = ", ".join(_SPEAKERS)
            raise RowRefused(NOT_OF_FORM, f"from: expected {expected}, got {each['from']!r:.80}")
    tools = read_tools(_functions(system))
    yield from rows_of(
        _steps(system, said, tools), tools=tools, source="toolace", name=row_id(entry)
    )


def _functions(system: str) -> list[dict[str, Any]]:
    decoder = json.JSONDecoder()
    for found in islice(_LIST.finditer(system), _MAX_TRIES):
        try:
            listed, _ = decoder.raw_decode(system, found.start())
        except (ValueError, RecursionError):
            continue
        return objects(listed, what="the tools", reason=BAD_TOOL)
    raise RowRefused(BAD_TOOL, "there is no JSON list of tools in the system text")


def _steps(system: str, said: list[dict[str, Any]], tools: Tools) -> Iterator[Step]:
    if time := _TIME.search(system):
        yield Step(Message(role="system", content=time[0].strip()))
    calls: tuple[ToolCall, ...] = ()
    for number, entry in enumerate(said, 1):
        speaker, value = entry["from"], text_of(entry, "value")
        if speaker == "user":
            yield Step(Message(role="user", content=value))
        elif speaker == "tool":
            yield from map(Step, results_of(value, calls))
        else:
            calls = _calls(value, tools, number=number)
            content = "" if calls else value
            yield Step(Message(role="assistant", content=content, tool_calls=calls))


def _calls(text: str, tools: Tools, *, number: int) -> tuple[ToolCall, ...]:
    """Read what the assistant called; nothing where its text is an answer."""
    text = text.strip()
    if not (text.startswith("[") and text.endswith("]")):
        return ()
    try:
        found = read_calls(text)
    except ValueError as error:
        raise RowRefused(BAD_CALL, f"message {number}: {error}") from error
    return tuple(
        ToolCall(id=f"call_{number}_{at}", name=tools.name(name), arguments=arguments)
        for at, (name, arguments) in enumerate(found)
    )
