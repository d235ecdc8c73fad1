"""The reply, written once: the only place that knows the tags and what a completion means.

Grammar: one leading `<think>…</think>` that is not empty, then EITHER one
`<tool_call>[{"name": …, "arguments": {…}}, …]</tool_call>` OR a plain answer without tags;
nothing after. An empty list says that no function fits.

Parsing goes by position. The think block is consumed first, so a call inside it is never a call;
the list is scanned as JSON from the opening tag, so a closing tag inside a string is harmless.
Nothing here raises on any text: what is wrong is a named fault on the `Reply`. The whole-text
form is the streaming form fed once; the commonest reply, a thought and calls without a fault, is
read by a shortcut that gives way to it at the first sign of anything else.
"""

from __future__ import annotations

import json
import re
from typing import Any, Literal, NamedTuple, NoReturn, get_args

from pydantic import BaseModel, ConfigDict

from tool_registry.calls import ToolCall

THINK_OPEN, THINK_CLOSE = "<think>", "</think>"
CALL_OPEN, CALL_CLOSE = "<tool_call>", "</tool_call>"
_TAGS = re.compile(r"</?(?:think|tool_call)>")

Fault = Literal[
    "missing_think",  # the reply does not begin with a think block
    "empty_think",  # the think block holds only white space
    "unclosed_think",  # the think block never ends
    "empty_reply",  # nothing follows the thought
    "tag_in_answer",  # a plain answer that holds one of the four tags
    "unclosed_call",  # the text ends before </tool_call>
    "bad_json",  # what stands between the call tags is not one JSON value
    "duplicate_key",  # an object names a key twice
    "non_finite",  # NaN, Infinity or a number that overflows
    "huge_integer",  # an integer of more than 400 digits
    "lone_surrogate",  # a string that is not valid Unicode
    "too_deep",  # more than 64 brackets open at once
    "not_a_list",  # a JSON value other than a list of calls
    "bad_call",  # a list item that is not exactly {"name": str, "arguments": object}
    "trailing_text",  # something follows </tool_call>
    "too_long",  # the text is longer than the parser's limit; the rest was dropped
]

_FAULT_ORDER: tuple[Fault, ...] = get_args(Fault)
MAX_DEPTH = 64
MAX_INT_DIGITS = 400
MAX_CHARS = 1 << 20


class Reply(BaseModel):
    """A parsed completion. Without faults it is either calls, or an answer, or "no call fits".

    `answer is None and not calls` with no fault is the empty list: no function fits.
    Calls may be present in spite of a fault where they are unambiguous: the runtime may run
    them, the reward pays only for a reply without faults.
    """

    model_config = ConfigDict(frozen=True)

    think: str = ""
    calls: tuple[ToolCall, ...] = ()
    answer: str | None = None
    faults: tuple[Fault, ...] = ()


class ThoughtDelta(NamedTuple):
    """More of the thought."""

    text: str


class AnswerDelta(NamedTuple):
    """More of the plain answer."""

    text: str


class CallFinished(NamedTuple):
    """A call of the list, complete."""

    position: int
    """Its place in the list, from 0."""
    call: ToolCall


Event = ThoughtDelta | AnswerDelta | CallFinished


def parse(text: str) -> Reply:
    """Parse a whole completion. Never raises."""
    reply = _faultless_calls(text)
    if reply is not None:
        return reply
    parser = StreamParser()
    parser.feed(text)
    return parser.close()


class StreamParser:
    """Parses a completion as it arrives; for any cutting into chunks the Reply is the same.

    Work is linear in the length of the text, memory at most `max_chars` characters.
    """

    def __init__(self, *, max_chars: int = MAX_CHARS) -> None:
        self._left = max_chars
        self._state = self._start
        self._buffer = ""
        self._faults: set[Fault] = set()
        self._think = _Trimmed()
        self._answer: _Trimmed | None = None
        self._calls: tuple[ToolCall, ...] = ()
        self._json = _JsonScan()
        self._events: list[Event] = []

    def feed(self, chunk: str) -> list[Event]:
        """Take the next characters; return what became certain."""
        if len(chunk) > self._left:
            chunk = chunk[: self._left]
            self._fault("too_long")
        self._left -= len(chunk)
        self._events = []
        self._buffer += chunk
        while self._state():
            pass
        return self._events

    def close(self) -> Reply:
        """End the text and return the Reply."""
        state = self._state
        if state in (self._start, self._after_think):
            # What could still have become a tag is an answer after all.
            if state == self._start:
                self._fault("missing_think")
            self._state = self._in_answer
            self._answer = _Trimmed()
            self._in_answer()
        elif state == self._in_think:
            self._think.add(self._buffer)
            self._fault("unclosed_think")
        elif state == self._in_json:
            self._fault("unclosed_call")
        elif state == self._after_json:
            self._end_call(self._buffer.strip())
        answer = None if self._answer is None else self._answer.text
        if answer is not None and _TAGS.search(answer):
            self._fault("tag_in_answer")
        if answer == "":
            self._fault("empty_reply")
            answer = None
        if not self._think.text and not {"missing_think", "unclosed_think"} & self._faults:
            self._fault("empty_think")
        return Reply(
            think=self._think.text,
            calls=self._calls,
            answer=answer,
            faults=tuple(sorted(self._faults, key=_FAULT_ORDER.index)),
        )

    def _fault(self, fault: Fault) -> None:
        self._faults.add(fault)

    # Each state consumes from the buffer and returns whether another state may go on.

    def _start(self) -> bool:
        opened = self._tag(THINK_OPEN)
        if opened is None:
            return False
        if opened:
            self._state = self._in_think
        else:
            self._fault("missing_think")
            self._state = self._after_think
        return True

    def _in_think(self) -> bool:
        end = self._buffer.find(THINK_CLOSE)
        if end < 0:
            keep = _partial_tag(self._buffer, THINK_CLOSE)
            cut = len(self._buffer) - keep
            self._emit_thought(self._buffer[:cut])
            self._buffer = self._buffer[cut:]
            return False
        self._emit_thought(self._buffer[:end])
        self._buffer = self._buffer[end + len(THINK_CLOSE) :]
        self._state = self._after_think
        return True

    def _after_think(self) -> bool:
        opened = self._tag(CALL_OPEN)
        if opened is None:
            return False
        if opened:
            self._state = self._in_json
        else:
            self._answer = _Trimmed()
            self._state = self._in_answer
        return True

    def _in_answer(self) -> bool:
        if self._answer is not None and (delta := self._answer.add(self._buffer)):
            self._events.append(AnswerDelta(delta))
        self._buffer = ""
        return False

    def _in_json(self) -> bool:
        rest = self._json.feed(self._buffer)
        self._buffer = ""
        if self._json.too_deep:
            self._fault("too_deep")
            self._state = self._drop
            return True
        if rest is None:
            return False
        self._calls, faults = _read_calls(self._json.text())
        for fault in faults:
            self._fault(fault)
        self._events += [CallFinished(i, call) for i, call in enumerate(self._calls)]
        self._buffer = rest
        self._state = self._after_json
        return True

    def _after_json(self) -> bool:
        closed = self._tag(CALL_CLOSE)
        if closed is None:
            return False
        if closed:
            self._state = self._trailing
        else:
            self._fault("bad_json")
            self._state = self._drop
        return True

    def _trailing(self) -> bool:
        if self._buffer.strip():
            self._fault("trailing_text")
            self._state = self._drop
        self._buffer = ""
        return False

    def _drop(self) -> bool:
        self._buffer = ""
        return False

    def _end_call(self, rest: str) -> None:
        self._fault("unclosed_call" if CALL_CLOSE.startswith(rest) else "bad_json")

    def _tag(self, tag: str) -> bool | None:
        """Skip white space; tell whether `tag` comes next (and consume it), or None for "wait"."""
        self._buffer = self._buffer.lstrip()
        if self._buffer.startswith(tag):
            self._buffer = self._buffer[len(tag) :]
            return True
        return None if tag.startswith(self._buffer) else False

    def _emit_thought(self, text: str) -> None:
        if delta := self._think.add(text):
            self._events.append(ThoughtDelta(delta))


class _Trimmed:
    """Text that grows, trimmed at both ends: trailing white space waits for what follows."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._space: list[str] = []

    def add(self, text: str) -> str:
        """Append; return what is now certain to stand."""
        body = text.rstrip()
        if not self._parts:
            body = body.lstrip()
        if not body:
            if self._parts:
                self._space.append(text)
            return ""
        delta = "".join(self._space) + body
        self._space = [text[len(text.rstrip()) :]]
        self._parts.append(delta)
        return delta

    @property
    def text(self) -> str:
        return "".join(self._parts)


def _partial_tag(text: str, tag: str) -> int:
    """Return how many of the last characters of `text` may be the beginning of `tag`."""
    for size in range(min(len(tag) - 1, len(text)), 0, -1):
        if text.endswith(tag[:size]):
            return size
    return 0


_OUTSIDE = re.compile(r'["\[\]{}<]')
_INSIDE = re.compile(r'["\\]')


class _JsonScan:
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


def _read_calls(text: str) -> tuple[tuple[ToolCall, ...], list[Fault]]:
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


_SHORTCUT = json.JSONDecoder(object_pairs_hook=_pairs, parse_float=_float, parse_constant=_constant)
_LIST_AHEAD = re.compile(rf"\s*{CALL_OPEN}[ \t\n\r]*(?=\[)")
_TAIL = re.compile(rf"\s*{CALL_CLOSE}\s*")
_MANY_DIGITS = re.compile(rf"\d{{{MAX_INT_DIGITS + 1}}}")


def _faultless_calls(text: str) -> Reply | None:
    """Read a thought and a list of calls without any fault; None for whatever may be else."""
    before, opened, rest = text.partition(THINK_OPEN)
    thought, closed, _ = rest.partition(THINK_CLOSE)
    think = thought.strip()
    if before.strip() or not (opened and closed and think) or len(text) > MAX_CHARS:
        return None
    head = _LIST_AHEAD.match(text, len(before) + len(opened) + len(thought) + len(closed))
    if head is None:
        return None
    if text.count("[") + text.count("{") > MAX_DEPTH:
        return None
    if len(text) > MAX_INT_DIGITS and _MANY_DIGITS.search(text):
        return None
    if not (text.isascii() and "\\u" not in text) and _SURROGATE.search(text):
        return None
    try:
        value, end = _SHORTCUT.raw_decode(text, head.end())
    except (_FaultError, ValueError):
        return None
    if not isinstance(value, list) or not all(map(_is_call, value)):
        return None
    if _TAIL.fullmatch(text, end) is None:
        return None
    calls = tuple(ToolCall(name=item["name"], arguments=item["arguments"]) for item in value)
    return Reply(think=think, calls=calls)


def _is_call(item: Any) -> bool:
    return (
        isinstance(item, dict)
        and item.keys() == {"name", "arguments"}
        and isinstance(item["name"], str)
        and isinstance(item["arguments"], dict)
    )
