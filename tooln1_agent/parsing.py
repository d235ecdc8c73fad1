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

import re
from typing import get_args

from pydantic import BaseModel, ConfigDict

from tool_registry.calls import ToolCall
from tooln1_agent.call_list import read_faultless
from tooln1_agent.call_stream import CallStream
from tooln1_agent.faults import Fault
from tooln1_agent.reply_events import AnswerDelta, Event, ThoughtDelta
from tooln1_agent.trimmed import Trimmed

THINK_OPEN, THINK_CLOSE = "<think>", "</think>"
CALL_OPEN, CALL_CLOSE = "<tool_call>", "</tool_call>"
_TAGS = re.compile(r"</?(?:think|tool_call)>")

_FAULT_ORDER: tuple[Fault, ...] = get_args(Fault)
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

    Events of calls are provisional (`tooln1_agent.reply_events`): the Reply alone says what stands.
    Work is linear in the length of the text, and so is memory, up to `max_chars` characters.
    """

    def __init__(self, *, max_chars: int = MAX_CHARS) -> None:
        self._left = max_chars
        self._state = self._start
        self._buffer = ""
        self._faults: set[Fault] = set()
        self._think = Trimmed()
        self._answer: Trimmed | None = None
        self._calls: tuple[ToolCall, ...] = ()
        self._list = CallStream()
        self._events: list[Event] = []

    def feed(self, chunk: str) -> list[Event]:
        """Take the next characters; return what they tell."""
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
            self._answer = Trimmed()
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
            self._answer = Trimmed()
            self._state = self._in_answer
        return True

    def _in_answer(self) -> bool:
        if self._answer is not None and (delta := self._answer.add(self._buffer)):
            self._events.append(AnswerDelta(delta))
        self._buffer = ""
        return False

    def _in_json(self) -> bool:
        rest, events = self._list.feed(self._buffer)
        self._buffer = ""
        self._events += events
        if self._list.too_deep:
            self._fault("too_deep")
            self._state = self._drop
            return True
        if rest is None:
            return False
        self._calls, faults = self._list.result()
        self._faults.update(faults)
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


def _partial_tag(text: str, tag: str) -> int:
    """Return how many of the last characters of `text` may be the beginning of `tag`."""
    for size in range(min(len(tag) - 1, len(text)), 0, -1):
        if text.endswith(tag[:size]):
            return size
    return 0


_LIST_AHEAD = re.compile(rf"\s*{CALL_OPEN}[ \t\n\r]*(?=\[)")
_TAIL = re.compile(rf"\s*{CALL_CLOSE}\s*")


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
    found = read_faultless(text, head.end())
    if found is None or _TAIL.fullmatch(text, found[1]) is None:
        return None
    return Reply(think=think, calls=found[0])
