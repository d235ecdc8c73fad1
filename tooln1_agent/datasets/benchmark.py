"""Reads benchmark files: JSON Lines (gzip or plain), one prompt with its expected calls a line.

A line holds `id`, `source`, `category`, `messages` (OpenAI roles), `tools` (OpenAI function
schemas), `expected` (calls) and `match`, which says how `expected` is meant: `exact`,
`bfcl_possible_answers`, `no_call`, `any_call` or `verify`. Each expected argument is the list of
its acceptable values; under `exact` that list has one element, and under `verify` `expected` is no
list but `{"rule", "given"}`. Other keys are ignored.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tool_registry.calls import ToolCall
from tool_registry.errors import InvalidTool
from tool_registry.tool import ToolSpec
from tooln1_agent.datasets.entries import read_entries
from tooln1_agent.datasets.rows import BAD_TOOL, NOT_OF_FORM, BenchmarkRow, Skipped
from tooln1_agent.errors import DataError, RowRefused
from tooln1_agent.examples import AnyCall, Exact, NoCall, Possible, PossibleCall, Target, Verify
from tooln1_agent.messages import Message

_KEYS = ("id", "source", "category", "messages", "tools", "expected", "match")


def read_benchmark(path: str | Path) -> Iterator[BenchmarkRow]:
    """Yield the rows of a file one by one.

    Raises:
        DataError: the file cannot be read, or a line is not of the form; names file and line.
    """
    for entry in read_entries(path):
        where = f"{str(path)!r}, {entry.place}"
        if isinstance(entry, Skipped):
            raise DataError(f"{where}: {entry.detail}")
        try:
            row = benchmark_row(entry.value)
        except RowRefused as error:
            raise DataError(f"{where}: {error.detail}") from error
        yield row


def read_bfcl(entry: dict[str, Any]) -> Iterator[BenchmarkRow]:
    """Yield the one row of an entry; raises `RowRefused`."""
    yield benchmark_row(entry)


def benchmark_row(entry: Any) -> BenchmarkRow:
    """Read one row from its JSON value; raises `RowRefused`."""
    try:
        return _build(entry)
    except KeyError as error:
        problem = f"the key {error.args[0]!r} is missing; expected {', '.join(_KEYS)}"
        raise RowRefused(NOT_OF_FORM, problem) from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise RowRefused(NOT_OF_FORM, f"{place}: {first['msg']}") from error
    except InvalidTool as error:
        raise RowRefused(BAD_TOOL, str(error)) from error
    except (ValueError, TypeError, RecursionError) as error:
        raise RowRefused(NOT_OF_FORM, str(error)) from error


def _build(entry: Any) -> BenchmarkRow:
    entry = _object(entry, what="the line")
    messages = _objects(entry["messages"], what="messages")
    return BenchmarkRow(
        id=entry["id"],
        source=entry["source"],
        category=entry["category"],
        messages=tuple(_message(message) for message in messages),
        tools=tuple(ToolSpec.from_openai(tool) for tool in _objects(entry["tools"], what="tools")),
        target=_target(entry["match"], entry["expected"]),
    )


def _objects(value: Any, *, what: str) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise TypeError(f"{what}: expected a list of objects, got {value!r:.80}")
    return value


def _object(value: Any, *, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"{what}: expected an object, got {value!r:.80}")
    return value


def _message(entry: dict[str, Any]) -> Message:
    """Read a message of the OpenAI form."""
    calls = _objects(entry.get("tool_calls") or [], what="tool_calls")
    return Message(
        role=entry["role"],
        content=entry.get("content") or "",
        tool_calls=tuple(_call(call) for call in calls),
        tool_call_id=entry.get("tool_call_id"),
    )


def _call(entry: dict[str, Any]) -> ToolCall:
    function = _object(entry["function"], what="function")
    arguments = function["arguments"]
    if isinstance(arguments, str):
        arguments = json.loads(arguments)
    return ToolCall(id=entry.get("id") or "", name=function["name"], arguments=arguments)


def _exact_call(entry: dict[str, Any]) -> ToolCall:
    """Read a call whose arguments each stand in a list of one."""
    arguments = {}
    for name, options in _object(entry["arguments"], what="arguments").items():
        if isinstance(options, list) and len(options) != 1:
            raise ValueError(
                f"expected: argument {name!r} of {entry['name']!r} is a list of {len(options)}; "
                "under match 'exact' it must be a list that holds the one right value"
            )
        arguments[name] = options[0] if isinstance(options, list) else options
    return ToolCall(name=entry["name"], arguments=arguments)


def _target(match: Any, expected: Any) -> Target:
    match match:
        case "no_call":
            return NoCall()
        case "any_call":
            return AnyCall()
        case "exact":
            way = tuple(_exact_call(call) for call in _objects(expected, what="expected"))
            return Exact(alternatives=(way,)) if way else NoCall()
        case "bfcl_possible_answers":
            calls = _objects(expected, what="expected")
            options = [PossibleCall(name=c["name"], arguments=c["arguments"]) for c in calls]
            return Possible(calls=tuple(options))
        case "verify":
            return Verify.model_validate(_object(expected, what="expected"))
        case _:
            raise ValueError(
                f"match is {match!r:.80}; expected 'exact', 'bfcl_possible_answers', 'no_call', "
                "'any_call' or 'verify'"
            )
