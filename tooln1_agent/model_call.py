"""One model call, streamed: what may be passed on at once, and what waits for the record."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import NamedTuple

from tooln1_agent.engines.base import Engine, ModelRequest
from tooln1_agent.errors import EngineError
from tooln1_agent.ids import new_id
from tooln1_agent.messages import Completion
from tooln1_agent.parsing import AnswerDelta, CallFinished, Event, Reply, StreamParser
from tooln1_agent.transcript import Turn, with_call_ids
from tooln1_agent.verdict import complaint_about, verdict


class Said(NamedTuple):
    """A finished model call, and the events that wait until its turn is recorded."""

    turn: Turn
    held: tuple[Event, ...]


async def ask(engine: Engine, request: ModelRequest) -> AsyncGenerator[Event | Said, None]:
    """Yield the events of one model call as they come, but for the last ones; then `Said`.

    Calls come last in a reply, so they are always among the events held back.
    """
    parser, completion = StreamParser(), None
    held: list[Event] = []
    streamed = 0  # characters of the answer
    async with aclosing(engine.stream(request)) as pieces:
        async for piece in pieces:
            if isinstance(piece, Completion):
                completion = piece
                break
            if fresh := tuple(parser.feed(piece)):
                for event in held:
                    yield event
                held = [_with_id(event) for event in fresh]
                streamed += sum(len(e.text) for e in fresh if isinstance(e, AnswerDelta))
    if completion is None:
        raise EngineError("the engine ended its stream without a completion; this is a bug in it")
    reply = parser.close()
    ids = tuple(event.call.id for event in held if isinstance(event, CallFinished))
    reply = with_call_ids(reply, ids)
    if rest := (reply.answer or "")[streamed:]:
        held.append(AnswerDelta(rest))
    yield Said(_turn(completion, reply), tuple(held))


def _turn(completion: Completion, reply: Reply) -> Turn:
    cut = completion.finish_reason == "length"
    unusable = verdict(reply) == "unusable" and not cut
    return Turn(
        completion=completion, reply=reply, complaint=complaint_about(reply) if unusable else ""
    )


def _with_id(event: Event) -> Event:
    if not isinstance(event, CallFinished):
        return event
    return event._replace(call=event.call.model_copy(update={"id": new_id("call")}))
