"""What every form of data set is read into: a labelled prompt, or the reason why there is none."""

from __future__ import annotations

from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict

from tool_registry.tool import ToolSpec
from tooln1_agent.errors import RowRefused
from tooln1_agent.examples import Target
from tooln1_agent.messages import Message

NOT_OF_FORM = "not of this form"
BROKEN_JSON = "broken JSON"
NOT_UTF8 = "not UTF-8"
BAD_TOOL = "a tool cannot be read"
BAD_CALL = "a call cannot be read"
BAD_MESSAGE = "a message cannot be read"
UNKNOWN_TOOL = "calls a tool that is not offered"
DOES_NOT_FIT = "the target does not fit the tools"
PLAIN_ANSWER = "a plain answer"
AFTER_RESULTS = "an answer after tool results"
NO_QUESTION = "no user message before it"
NO_STEP = "no step of the assistant"


class BenchmarkRow(BaseModel):
    """One prompt of a data set and what the right reply calls."""

    model_config = ConfigDict(frozen=True)

    id: str
    source: str
    category: str
    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...]
    target: Target


class Skipped(NamedTuple):
    """A row, or a step of one, that gives no example."""

    reason: str
    """One of the phrases above, to count by."""
    detail: str = ""
    place: str = ""
    """Where in the file, e.g. "line 12"; known to whoever reads the file."""


def key(entry: dict[str, Any], name: str) -> Any:
    """Return the value under a key; raises `RowRefused` if it is missing."""
    if name not in entry:
        raise RowRefused(NOT_OF_FORM, f"the key {name!r} is missing")
    return entry[name]


def text_of(entry: dict[str, Any], name: str) -> str:
    """Return the text under a key; raises `RowRefused` if it is missing or no text."""
    value = key(entry, name)
    if not isinstance(value, str):
        raise RowRefused(NOT_OF_FORM, f"{name}: expected text, got {value!r:.80}")
    return value


def objects(value: Any, *, what: str, reason: str = NOT_OF_FORM) -> list[dict[str, Any]]:
    """Return a list of objects as it is; raises `RowRefused` if it is none."""
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise RowRefused(reason, f"{what}: expected a list of objects, got {value!r:.80}")
    return value
