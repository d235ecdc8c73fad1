"""One model call, streamed: what may be passed on at once, and what waits for the record."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import NamedTuple

from tooln1_agent.engines.base import Engine, ModelRequest
from tooln1_agent.errors import EngineError
from tooln1_agent.ids import new_id
from tooln1_agent.messages import Completion
from tooln1_agent.parsing import Reply, StreamParser
from tooln1_agent.reply_events import (
    AnswerDelta,
    CallFinished,
    CallStarted,
    CallsWithdrawn,
    Event,
)
from tooln1_agent.transcript import Turn, with_call_ids
from tooln1_agent.verdict import complaint_about, verdict


class Said(NamedTuple):
    """A finished model call, and the events that wait until its turn is recorded."""

    turn: Turn
    held: tuple[Event, ...]


async def ask(engine: Engine, request: ModelRequest) -> AsyncGenerator[Event | Said, None]:
    """Yield the events of one model call as they come, but for the last ones; then `Said`.

    What is held back is the end of the answer, or of the last call's arguments and all after it,
    so nobody has either whole before the turn is recorded. Calls that were begun and do not stand
    are withdrawn.
    """
    parser, completion = StreamParser(), None
    held: list[Event] = []
    ids: list[str] = []  # of the calls that were begun, each minted once
    streamed = 0  # characters of the answer
    async with aclosing(engine.stream(request)) as pieces:
        async for piece in pieces:
            if isinstance(piece, Completion):
                completion = piece
                break
            if fresh := tuple(parser.feed(piece)):
                if not all(isinstance(event, CallFinished) for event in fresh):
                    for event in held:
                        yield event
                    held = []
                held += [_with_id(event, ids) for event in fresh]
                streamed += sum(len(e.text) for e in fresh if isinstance(e, AnswerDelta))
    if completion is None:
        raise EngineError("the engine ended its stream without a completion; this is a bug in it")
    reply = parser.close()
    if ids and not reply.calls:  # the text ended inside the list
        held.append(_with_id(CallsWithdrawn(), ids))
    reply = with_call_ids(reply, tuple(ids))
    if rest := (reply.answer or "")[streamed:]:
        held.append(AnswerDelta(rest))
    yield Said(_turn(completion, reply), tuple(held))


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
