"""The JSON between the call tags: what calls it holds, and what is wrong with it.

Nothing here raises on any text: what is wrong is a named fault.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from tool_registry.calls import ToolCall
from tooln1_agent.faults import Fault
from tooln1_agent.json_scan import MAX_DEPTH

MAX_INT_DIGITS = 400


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


def _decode(text: str) -> Any:
    try:
        value = _DECODER.decode(text)
        if _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise _FaultError("lone_surrogate") from error
    except json.JSONDecodeError as error:
        raise _FaultError("bad_json") from error
    return value


def read_part(text: str) -> Any:
    """Decode a string or an object of the list; None if it has any fault."""
    try:
        return _decode(text)
    except _FaultError:
        return None


def read_calls(text: str) -> tuple[tuple[ToolCall, ...], list[Fault]]:
    """Decode the list between the call tags into calls; on a fault no call or all of them."""
    try:
        value = _decode(text)
    except _FaultError as error:
        return (), [error.fault]
    faults: list[Fault] = []
    if not isinstance(value, list):
        faults.append("not_a_list")
        value = [value]
    if not all(_is_call(item) for item in value):
        return (), faults or ["bad_call"]
    return tuple(ToolCall(name=i["name"], arguments=i["arguments"]) for i in value), faults


_QUICK = json.JSONDecoder(object_pairs_hook=_pairs, parse_float=_float, parse_constant=_constant)
# Only where a run of digits begins: else each run would be gone over once for each of its digits.
_MANY_DIGITS = re.compile(rf"\d(?<!\d\d)\d{{{MAX_INT_DIGITS}}}")


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
