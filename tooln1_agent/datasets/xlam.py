"""The form of xlam-function-calling-60k: one question, its tools, and the calls that answer it.

`{"id", "query", "tools", "answers"}`; tools and answers are JSON, as text or as it is. A tool's
`parameters` is a flat map of Python type names. An empty list of answers says that nothing is to
be called.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tooln1_agent.datasets.conversation import exact, read_call, row_id
from tooln1_agent.datasets.entries import read_json
from tooln1_agent.datasets.rows import (
    BAD_CALL,
    BAD_TOOL,
    UNKNOWN_TOOL,
    BenchmarkRow,
    key,
    objects,
    text_of,
)
from tooln1_agent.datasets.schemas import read_tools
from tooln1_agent.errors import RowRefused
from tooln1_agent.examples import NoCall, Target
from tooln1_agent.messages import Message


def read_xlam(entry: dict[str, Any]) -> Iterator[BenchmarkRow]:
    """Yield the one row of an entry; raises `RowRefused`."""
    query = text_of(entry, "query")
    written, answers = key(entry, "tools"), key(entry, "answers")
    tools = read_tools(_listed(written, what="tools", reason=BAD_TOOL))
    calls = [read_call(each, tools) for each in _listed(answers, what="answers", reason=BAD_CALL)]
    offered = {spec.name for spec in tools.specs}
    unknown = [call.name for call in calls if call.name not in offered]
    if unknown:
        raise RowRefused(UNKNOWN_TOOL, repr(unknown[0]))
    target: Target = exact(calls) if calls else NoCall()
    yield BenchmarkRow(
        id=row_id(entry),
        source="xlam",
        category="single",
        messages=(Message(role="user", content=query),),
        tools=tools.specs,
        target=target,
    )


def _listed(value: Any, *, what: str, reason: str) -> list[dict[str, Any]]:
    if isinstance(value, str):
        try:
            value = read_json(value)
        except ValueError as error:
            raise RowRefused(reason, f"{what}: {error}") from error
    return objects(value, what=what, reason=reason)
