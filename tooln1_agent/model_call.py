"""One model call, streamed: what may be passed on at once, and what waits for the record."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import NamedTuple

from tooln1_agent.engines.base import Engine, ModelRequest
from tooln1_agent.errors import EngineDown, EngineError
from tooln1_agent.ids import new_id
from tooln1_agent.messages import Completion
from tooln1_agent.parsing import Reply, StreamParser
from tooln1_agent.reply_events import (
    AnswerDelta,
    CallFinished,
    CallStarted,
    CallsWithdrawn,
    Event,
    ThoughtDelta,
)
from tooln1_agent.transcript import Turn, with_call_ids
from tooln1_agent.verdict import complaint_about, verdict

log = logging.getLogger("tooln1_agent.model_call")

_ATTEMPTS = 3
"""How often a call is begun before its engine's end is the caller's business."""


class Said(NamedTuple):
    """A finished model call, and the events that wait until its turn is recorded."""

    turn: Turn
    held: tuple[Event, ...]


async def ask(
    engine: Engine, request: ModelRequest, *, whole: bool = False
) -> AsyncGenerator[Event | Said, None]:
    """Yield the events of one model call as they come, but for the last ones; then `Said`.

    What is held back is the end of the answer, or of the last call's arguments and all after it,
    so nobody has either whole before the turn is recorded. Calls that were begun and do not stand
    are withdrawn. A call whose engine goes away on the way is made anew while no more than thoughts
    of it are out; they then begin anew too.

    Args:
        whole: hold all events back, for whoever has no use for a part.
    """
    for attempts_left in reversed(range(_ATTEMPTS)):
        call, is_out = _Call(whole=whole), False
        try:
            async with aclosing(engine.stream(request)) as pieces:
                async for piece in pieces:
                    for event in call.take(piece):
                        is_out = is_out or not isinstance(event, ThoughtDelta)
                        yield event
                    if isinstance(piece, Completion):
                        break
        except EngineDown as error:
            if is_out or not call.has_begun or not attempts_left:
                raise
            log.warning("a model call is made anew, its engine went away: %s", error)
        else:
            yield call.end()
            return


class _Call:
    """One attempt: what the engine has said, and the events of it that wait."""

    def __init__(self, *, whole: bool) -> None:
        self.has_begun = False
        self._whole = whole
        self._parser = StreamParser()
        self._completion: Completion | None = None
        self._held: list[Event] = []
        self._ids: list[str] = []  # of the calls that were begun, each minted once
        self._streamed = 0  # characters of the answer

    def take(self, piece: str | Completion) -> list[Event]:
        """Take what the engine yields; return the events that wait no longer."""
        self.has_begun = True
        if isinstance(piece, Completion):
            self._completion = piece
            return []
        fresh = self._parser.feed(piece)
        is_more = not all(isinstance(event, CallFinished) for event in fresh)
        freed, kept = (self._held, []) if is_more and not self._whole else ([], self._held)
        self._held = [*kept, *(_with_id(event, self._ids) for event in fresh)]
        self._streamed += sum(len(e.text) for e in fresh if isinstance(e, AnswerDelta))
        return freed

    def end(self) -> Said:
        """Return the finished call."""
        if self._completion is None:
            raise EngineError(
                "the engine ended its stream without a completion; this is a bug in it"
            )
        reply = self._parser.close()
        if self._ids and not reply.calls:  # the text ended inside the list
            self._held.append(_with_id(CallsWithdrawn(), self._ids))
        reply = with_call_ids(reply, tuple(self._ids))
        if rest := (reply.answer or "")[self._streamed :]:
            self._held.append(AnswerDelta(rest))
        return Said(_turn(self._completion, reply), tuple(self._held))


def _turn(completion: Completion, reply: Reply) -> Turn:
    cut = completion.finish_reason == "length"
    unusable = verdict(reply) == "unusable" and not cut
    return Turn(
        completion=completion, reply=reply, complaint=complaint_about(reply) if unusable else ""
    )


def _with_id(event: Event, ids: list[str]) -> Event:
    """Return the event with the id of its call; mint that when the call begins."""
    match event:
        case CallStarted():
            ids.append(new_id("call"))
            return event._replace(id=ids[event.position])
        case CallFinished():
            call = event.call.model_copy(update={"id": ids[event.position]})
            return event._replace(call=call)
        case CallsWithdrawn():
            ids.clear()
    return event
