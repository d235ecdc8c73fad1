"""What the stream parser tells about a reply while it arrives.

Events of calls are provisional: they say what the text so far means, and the final `Reply` alone
says what stands. For a reply without faults the two agree: its `CallFinished` are exactly
`reply.calls`, in order. Where a list turns out malformed no call of it stands, those that had
finished included: `CallsWithdrawn` says so as soon as it can be told, and no call event follows.
A text that ends inside the list leaves no time for it; `reply.calls` is empty then.
"""

from __future__ import annotations

from typing import NamedTuple

from tool_registry.calls import ToolCall


class ThoughtDelta(NamedTuple):
    """More of the thought."""

    text: str


class AnswerDelta(NamedTuple):
    """More of the plain answer."""

    text: str


class CallStarted(NamedTuple):
    """A call of the list has told its name; its arguments may have come before that."""

    position: int
    """Its place in the list, from 0."""
    name: str
    id: str = ""
    """The id that its `ToolCall` is going to carry; the parser itself gives none."""


class ArgumentDelta(NamedTuple):
    """More of the arguments of the call that started last, as the model wrote them.

    The texts of a finished call, joined, are the JSON object that decodes to its `arguments`. A
    piece may end anywhere, inside an escape too. Arguments that come before the name wait for it.
    """

    position: int
    text: str


class CallFinished(NamedTuple):
    """A call of the list, complete and well-formed; others may follow it."""

    position: int
    call: ToolCall


class CallsWithdrawn(NamedTuple):
    """The list is malformed: none of the calls that were begun stands."""


CallEvent = CallStarted | ArgumentDelta | CallFinished | CallsWithdrawn
Event = ThoughtDelta | AnswerDelta | CallEvent
