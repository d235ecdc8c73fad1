"""A model call whose engine goes away on the way: made anew while nobody has heard of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from tests.agent.served import CHAT, body, kit
from tooln1_agent.agent import Agent
from tooln1_agent.engines.base import ModelRequest
from tooln1_agent.engines.scripted import ScriptedEngine
from tooln1_agent.errors import EngineDown
from tooln1_agent.messages import Completion
from tooln1_agent.replay.store import ReplayStore
from tooln1_agent.reply_events import AnswerDelta
from tooln1_agent.run_events import RunEvent, RunResult

SAID = ("<think>it", " is known</think>It", " is", " sunny.")
AMID_THE_THOUGHT, AMID_THE_ANSWER = 1, 3


class Leaving(ScriptedEngine):
    """Goes away after so many pieces of its first calls, and then no more."""

    def __init__(self, after: int, *, times: int = 1) -> None:
        super().__init__([])
        self._after, self._times = after, times
        self.asked = 0

    async def stream(self, request: ModelRequest) -> AsyncGenerator[str | Completion, None]:
        self.asked += 1
        for place, piece in enumerate(SAID):
            if place == self._after and self.asked <= self._times:
                raise EngineDown("gone")
            yield piece
        yield Completion(text="".join(SAID), finish_reason="stop")


@pytest.mark.parametrize("after", [AMID_THE_THOUGHT, AMID_THE_ANSWER])
async def test_a_call_that_nobody_has_heard_of_is_made_anew(after: int) -> None:
    engine = Leaving(after)
    with ReplayStore(":memory:") as store:
        result = await Agent(engine, store=store).run("Weather?")
        (kept,) = store.interactions()
    assert result.output == "It is sunny."
    assert (kept.stop, [turn.completion.text for turn in kept.turns]) == ("answer", ["".join(SAID)])
    assert engine.asked == 2


async def test_a_stream_begins_anew_while_only_thoughts_of_it_are_out() -> None:
    events = [event async for event in Agent(Leaving(AMID_THE_THOUGHT)).run_stream("Weather?")]
    assert isinstance(events[-1], RunResult)
    assert events[-1].output == "It is sunny."
    assert _answer(events) == "It is sunny."


async def test_a_stream_whose_answer_is_out_fails_and_its_failure_is_kept() -> None:
    engine, events = Leaving(AMID_THE_ANSWER), []
    with ReplayStore(":memory:") as store:
        with pytest.raises(EngineDown, match="gone"):
            async for event in Agent(engine, store=store).run_stream("Weather?"):
                events.append(event)
        (kept,) = store.interactions()
    assert _answer(events) == "It"
    assert (kept.stop, kept.turns, engine.asked) == ("error", (), 1)


@pytest.mark.parametrize(("after", "asked"), [(0, 1), (AMID_THE_ANSWER, 3)])
async def test_an_engine_that_stays_away_is_not_asked_for_ever(after: int, asked: int) -> None:
    engine = Leaving(after, times=9)
    with pytest.raises(EngineDown, match="gone"):
        await Agent(engine).run("Weather?")
    assert engine.asked == asked


@pytest.mark.parametrize("stream", [False, True])
async def test_clients_notice_nothing_of_a_call_that_was_made_anew(stream: bool) -> None:
    made = kit(engine=Leaving(AMID_THE_THOUGHT))
    async with made.client() as client:
        response = await client.post(CHAT, json=body(stream=stream))
    assert response.status_code == 200
    assert "error" not in response.text
    assert "sunny." in response.text


def _answer(events: list[RunEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, AnswerDelta))
