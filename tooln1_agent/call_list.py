"""The JSON between the call tags: where it ends, and what calls it holds.

Nothing here raises on any text: what is wrong is a named fault.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from tool_registry.calls import ToolCall
from tooln1_agent.faults import Fault

MAX_DEPTH = 64
MAX_INT_DIGITS = 400

_OUTSIDE = re.compile(r'["\[\]{}<]')
_INSIDE = re.compile(r'["\\]')


class JsonScan:
    """Finds the end of one JSON value in text that arrives in pieces, without decoding it.

    A value that is not a list, object or string ends before the next `<`.
    """

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._depth = 0
        self._in_string = False
        self._escaped = False
        self.too_deep = False

    def text(self) -> str:
        return "".join(self._parts)

    def feed(self, chunk: str) -> str | None:
        """Take a piece; return what follows the value, or None while it has not ended."""
        pos = 0
        if self._escaped and chunk:
            self._escaped, pos = False, 1
        while True:
            match = (_INSIDE if self._in_string else _OUTSIDE).search(chunk, pos)
            if match is None:
                self._parts.append(chunk)
                return None
            pos = match.end()
            mark = match.group()
            if self._in_string:
                if mark == "\\":
                    self._escaped = pos == len(chunk)
                    pos += 1
                else:
                    self._in_string = False
                    if self._depth == 0:
                        return self._end(chunk, pos)
            elif mark == '"':
                self._in_string = True
            elif mark == "<":
                if self._depth == 0:
                    return self._end(chunk, pos - 1)
            elif self._bracket(mark):
                return self._end(chunk, pos)
            elif self.too_deep:
                return None

    def _bracket(self, mark: str) -> bool:
        """Count a bracket; True when it ends the value."""
        self._depth += 1 if mark in "[{" else -1
        self.too_deep = self._depth > MAX_DEPTH
        return self._depth <= 0

    def _end(self, chunk: str, pos: int) -> str:
        self._parts.append(chunk[:pos])
        return chunk[pos:]


class _FaultError(Exception):
    """Carries a fault out of a JSON decoder hook."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise _FaultError("duplicate_key")
    return made


def _integer(digits: str) -> int:
    if len(digits) > MAX_INT_DIGITS:
        raise _FaultError("huge_integer")
    return int(digits)


def _float(digits: str) -> float:
    value = float(digits)
    if value - value != 0.0:
        raise _FaultError("non_finite")
    return value


def _constant(_: str) -> NoReturn:
    raise _FaultError("non_finite")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_pairs, parse_int=_integer, parse_float=_float, parse_constant=_constant
)
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")


def read_calls(text: str) -> tuple[tuple[ToolCall, ...], list[Fault]]:
    """Decode the list between the call tags into calls; on a fault no call or all of them."""
    try:
        value = _DECODER.decode(text)
        if _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except _FaultError as error:
        return (), [error.fault]
    except UnicodeEncodeError:
        return (), ["lone_surrogate"]
    except json.JSONDecodeError:
        return (), ["bad_json"]
    faults: list[Fault] = []
    if not isinstance(value, list):
        faults.append("not_a_list")
        value = [value]
    if not all(_is_call(item) for item in value):
        return (), faults or ["bad_call"]
    return tuple(ToolCall(name=i["name"], arguments=i["arguments"]) for i in value), faults


_QUICK = json.JSONDecoder(object_pairs_hook=_pairs, parse_float=_float, parse_constant=_constant)
_MANY_DIGITS = re.compile(rf"\d{{{MAX_INT_DIGITS + 1}}}")


def read_faultless(text: str, start: int) -> tuple[tuple[ToolCall, ...], int] | None:
    """Read a list of calls that begins at `start`, at one go; return it and where it ends.

    None where there is no such list, or where the text may hold a fault that this way cannot name.
    """
    if text.count("[") + text.count("{") > MAX_DEPTH:
        return None
    if len(text) > MAX_INT_DIGITS and _MANY_DIGITS.search(text):
        return None
    if not (text.isascii() and "\\u" not in text) and _SURROGATE.search(text):
        return None
    try:
        value, end = _QUICK.raw_decode(text, start)
    except (_FaultError, ValueError):
        return None
    if not isinstance(value, list) or not all(map(_is_call, value)):
        return None
    return tuple(ToolCall(name=i["name"], arguments=i["arguments"]) for i in value), end


def _is_call(item: Any) -> bool:
    return (
        isinstance(item, dict)
        and item.keys() == {"name", "arguments"}
        and isinstance(item["name"], str)
        and isinstance(item["arguments"], dict)
    )
