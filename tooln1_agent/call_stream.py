"""The calls of a list while it arrives: which has begun, which is complete, what is not a list.

This rides on the scan for the list's end and keeps to its outer two levels. What stands between
two parts there must be just what JSON wants between them; the parts themselves (names, arguments)
are decoded once, when they are complete. So what passes here is a list of calls without a fault,
and the first deviation withdraws all of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from tool_registry.calls import ToolCall
from tooln1_agent.call_list import read_calls, read_part
from tooln1_agent.faults import Fault
from tooln1_agent.json_scan import JsonScan
from tooln1_agent.reply_events import (
    ArgumentDelta,
    CallEvent,
    CallFinished,
    CallStarted,
    CallsWithdrawn,
)

_NOTHING = re.compile(r"[ \t\n\r]*")
_COMMA = re.compile(r"[ \t\n\r]*,[ \t\n\r]*")
_COLON = re.compile(r"[ \t\n\r]*:[ \t\n\r]*")
_LONGEST_KEY = len('"arguments"') * len("\\u0061")


class CallStream:
    """Reads the JSON after the opening call tag, piece by piece.

    A single object in place of the list is read too; `result` names the fault.
    """

    def __init__(self) -> None:
        self._scan = JsonScan(self._mark)
        self._events: list[CallEvent] = []
        self._calls: list[ToolCall] = []
        self._has_begun = False  # whether an event has told of a call
        self._is_calls = True  # while it can still be a list of calls
        self._level = 1  # brackets around a call: 0 where there is no list
        self._step: Callable[[str, int, int], bool] = self._first_mark
        self._seen = 0  # where the last mark ended
        self._forget_call()

    @property
    def too_deep(self) -> bool:
        return self._scan.too_deep

    def feed(self, chunk: str) -> tuple[str | None, list[CallEvent]]:
        """Take a piece; return what follows the JSON (None while it goes on), and the events."""
        self._events = []
        rest = self._scan.feed(chunk)
        if self.too_deep:
            self._withdraw()
        if self._is_calls:
            self._tell_arguments()
        return rest, self._events

    def result(self) -> tuple[tuple[ToolCall, ...], list[Fault]]:
        """Return the calls and the faults of the JSON, which has ended."""
        if self._is_calls and self._step == self._after_call:
            return tuple(self._calls), [] if self._level else ["not_a_list"]
        return read_calls(self._scan.text(0, self._scan.length))

    def _forget_call(self) -> None:
        self._name: str | None = None
        self._arguments: dict[str, Any] | None = None
        self._arguments_at: int | None = None
        self._arguments_end: int | None = None
        self._told = 0  # where the next delta of the arguments begins

    def _mark(self, mark: str, start: int, end: int, depth: int) -> None:
        if self._is_calls and depth <= self._level + 1:
            if self._step(mark, start, end):
                self._seen = end
            else:
                self._withdraw()

    def _withdraw(self) -> None:
        if self._is_calls and self._has_begun:
            self._events.append(CallsWithdrawn())
        self._is_calls = False

    def _after(self, between: re.Pattern[str], start: int) -> bool:
        """Tell whether just that stands between the last mark and `start`."""
        return between.fullmatch(self._scan.text(self._seen, start)) is not None

    # Each step takes the next mark, sets the step after it, and tells whether the mark fits.

    def _first_mark(self, mark: str, start: int, end: int) -> bool:
        self._level = 1 if mark == "[" else 0
        self._step = self._first_call if self._level else self._first_key
        return mark in "[{" and self._after(_NOTHING, start)

    def _first_call(self, mark: str, start: int, end: int) -> bool:
        self._step = self._first_key if mark == "{" else self._after_call
        return mark in "{]" and self._after(_NOTHING, start)

    def _after_call(self, mark: str, start: int, end: int) -> bool:
        if mark == "]":
            return self._after(_NOTHING, start)
        self._step = self._first_key
        return mark == "{" and self._after(_COMMA, start)

    def _first_key(self, mark: str, start: int, end: int) -> bool:
        return mark == '"' and self._after(_NOTHING, start) and self._take_key(start, end)

    def _after_value(self, mark: str, start: int, end: int) -> bool:
        if mark == "}":
            return self._after(_NOTHING, start) and self._finish_call()
        return mark == '"' and self._after(_COMMA, start) and self._take_key(start, end)

    def _take_key(self, start: int, end: int) -> bool:
        key = read_part(self._scan.text(start, end)) if end - start <= _LONGEST_KEY else None
        self._step = self._take_name if key == "name" else self._open_arguments
        return (key == "name" and self._name is None) or (
            key == "arguments" and self._arguments is None
        )

    def _take_name(self, mark: str, start: int, end: int) -> bool:
        if mark != '"' or not self._after(_COLON, start):
            return False
        self._name = read_part(self._scan.text(start, end))
        if self._name is None:
            return False
        self._has_begun = True
        self._events.append(CallStarted(len(self._calls), self._name))
        self._tell_arguments()
        self._step = self._after_value
        return True

    def _open_arguments(self, mark: str, start: int, end: int) -> bool:
        self._arguments_at = self._told = start
        self._step = self._close_arguments
        return mark == "{" and self._after(_COLON, start)

    def _close_arguments(self, mark: str, start: int, end: int) -> bool:
        assert self._arguments_at is not None  # they were opened
        self._arguments_end = end
        self._tell_arguments()
        self._arguments = read_part(self._scan.text(self._arguments_at, end))
        self._step = self._after_value
        return self._arguments is not None

    def _tell_arguments(self) -> None:
        """Tell what there is of the arguments, once it is known whose they are."""
        if self._name is None or self._arguments_at is None:
            return
        end = self._arguments_end or self._scan.length
        if end > self._told:
            self._events.append(ArgumentDelta(len(self._calls), self._scan.text(self._told, end)))
            self._told = end

    def _finish_call(self) -> bool:
        if self._name is None or self._arguments is None:
            return False
        call = ToolCall(name=self._name, arguments=self._arguments)
        self._events.append(CallFinished(len(self._calls), call))
        self._calls.append(call)
        self._forget_call()
        self._step = self._after_call
        return True
