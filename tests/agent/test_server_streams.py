"""A client that goes away takes its run with it; what was said is recorded before it is heard."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.agent.served import CALL_WEATHER, CHAT, WEATHER_TOOL, Kit, body, kit, until
from tooln1_agent.engines.base import EngineInfo, ModelRequest
from tooln1_agent.engines.scripted import ScriptedEngine
from tooln1_agent.errors import EngineDown
from tooln1_agent.messages import Completion
from tooln1_agent.renderers.tooln1 import TOOLN1


class Endless(ScriptedEngine):
    """Goes on thinking and answering until it is cancelled."""

    def __init__(self) -> None:
        super().__init__([])
        self.running = 0

    async def stream(self, request: ModelRequest) -> AsyncIterator[str | Completion]:
        self.running += 1
        try:
            yield "<think>x</think>"
            while True:
                await asyncio.sleep(0.01)
                yield "word "
        finally:
            self.running -= 1


@pytest.mark.parametrize("tools", [None, [WEATHER_TOOL]])
@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_cancels_its_run(stream: bool, tools: Any) -> None:
    made = kit(engine=Endless())
    asked = body(stream=stream, **({"tools": tools} if tools else {}))
    with made.on_socket() as address:
        timeout = httpx.Timeout(10, read=0.3)
        with httpx.Client(base_url=address, timeout=timeout) as client:
            if stream:
                with client.stream("POST", CHAT, json=asked) as response:
                    next(response.iter_lines())
            else:
                with pytest.raises(httpx.ReadTimeout):
                    client.post(CHAT, json=asked)
        until(lambda: made.engine.running == 0)
        until(lambda: [kept.stop for kept in made.store.interactions()] == ["cancelled"])


def test_a_client_that_leaves_while_a_tool_runs_leaves_no_call_dangling() -> None:
    started: list[bool] = []

    async def slow() -> str:
        """Take long."""
        started.append(True)
        await asyncio.sleep(60)
        return "never"

    calls = '<think>x</think><tool_call>[{"name": "slow", "arguments": {}}]</tool_call>'
    made = kit([calls], agent={"tools": [slow]})
    with made.on_socket() as address:
        with (
            httpx.Client(base_url=address, timeout=httpx.Timeout(10, read=0.5)) as client,
            pytest.raises(httpx.ReadTimeout),
        ):
            client.post(CHAT, json=body())
        until(lambda: [kept.stop for kept in made.store.interactions()] == ["cancelled"])
    assert started
    (kept,) = made.store.interactions()
    assert [result.error for result in kept.turns[0].results] == ["cancelled"]


async def test_the_turn_is_recorded_before_the_stream_ends() -> None:
    made: Kit = kit([CALL_WEATHER])
    turns_when_heard: list[tuple[str, int]] = []
    async with made.client() as client:
        # The in-process transport hands pieces over only at the end, so watch the application.
        async def watched(scope: Any, receive: Any, send: Any) -> None:
            async def sending(message: Any) -> None:
                for kept in made.store.interactions():
                    text = message.get("body", b"").decode()
                    turns_when_heard.append((text, len(kept.turns)))
                await send(message)

            await made.app(scope, receive, sending)

        client._transport = httpx.ASGITransport(app=watched)
        response = await client.post(CHAT, json=body(stream=True, tools=[WEATHER_TOOL]))
    assert response.status_code == 200
    pieces = [turns for text, turns in turns_when_heard if '"arguments":"' in text]
    assert pieces[0] == 0  # they go out while the model writes, all but the last
    assert pieces[-1] == 1
    told = '"finish_reason":"tool_calls"', "DONE"
    closing = [turns for text, turns in turns_when_heard if any(sign in text for sign in told)]
    assert closing == [1, 1]


class Slow(ScriptedEngine):
    """Waits to be let before it says anything, and again in the middle; may fail at the start."""

    def __init__(self, *, fails: bool = False) -> None:
        super().__init__([])
        self._fails = fails
        self.may_begin, self.may_end = threading.Event(), threading.Event()

    async def stream(self, request: ModelRequest) -> AsyncIterator[str | Completion]:
        await asyncio.to_thread(self.may_begin.wait)
        if self._fails:
            raise EngineDown("gone")
        yield "<think>x</think>It "
        yield "is "
        await asyncio.to_thread(self.may_end.wait)
        yield "sunny."
        yield Completion(text="<think>x</think>It is sunny.", finish_reason="stop")


@pytest.mark.parametrize("fails", [False, True])
def test_a_stream_that_waits_is_kept_alive_by_comments(fails: bool) -> None:
    engine = Slow(fails=fails)
    made = kit(engine=engine, keep_alive_s=0.05)
    heard: list[str] = []
    with (
        made.on_socket() as address,
        httpx.Client(base_url=address, timeout=20) as client,
        client.stream("POST", CHAT, json=body(stream=True)) as response,
    ):
        assert response.status_code == 200  # before there was anything to say
        for line in filter(None, response.iter_lines()):
            heard.append(line)
            if line == ": keep-alive":
                (engine.may_end if engine.may_begin.is_set() else engine.may_begin).set()
    assert ": keep-alive" in heard
    assert heard[-1] == "data: [DONE]"
    said = [json.loads(line[6:]) for line in heard[:-1] if line.startswith("data: ")]
    if fails:
        assert said[-1]["error"]["code"] == "engine_down"
    else:
        deltas = [chunk["choices"][0]["delta"].get("content") or "" for chunk in said]
        assert "".join(deltas) == "It is sunny."


def test_a_client_that_leaves_while_it_is_kept_alive_cancels_its_run() -> None:
    engine = Slow()
    made = kit(engine=engine, keep_alive_s=0.05)
    with made.on_socket() as address:
        with (
            httpx.Client(base_url=address, timeout=20) as client,
            client.stream("POST", CHAT, json=body(stream=True)) as response,
        ):
            next(response.iter_lines())
        until(lambda: [kept.stop for kept in made.store.interactions()] == ["cancelled"])
        engine.may_begin.set()  # lets its thread go


async def test_readiness_follows_the_engine() -> None:
    made = kit()
    with made.on_socket() as address:
        async with httpx.AsyncClient(base_url=address) as client:
            ready = await client.get("/readyz")
    assert ready.status_code == 200
    assert ready.json()["ready"] is True
    assert made.engine.info == EngineInfo(
        capability="text", base_model="scripted", prompt_version=TOOLN1.version
    )


async def test_a_store_that_cannot_be_written_is_not_ready() -> None:
    made = kit()
    made.store.close()
    async with made.client() as client:
        ready = await client.get("/readyz")
        chat = await client.post(CHAT, json=body())
    assert ready.json()["checks"]["store"] == "not writable"
    assert chat.status_code == 503
    assert chat.json()["error"]["code"] == "store_error"
