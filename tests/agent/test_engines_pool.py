"""Several engines behind one: who is asked, and what happens when one goes away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from tooln1_agent.engines.base import ModelRequest, complete
from tooln1_agent.engines.pool import PooledEngine
from tooln1_agent.engines.rota import ASIDE_S
from tooln1_agent.engines.scripted import ScriptedEngine
from tooln1_agent.errors import AdapterError, ConfigError, EngineBusy, EngineDown, EngineError
from tooln1_agent.messages import Completion, Message

ASK = ModelRequest((Message(role="user", content="hi"),), ())


class Moody(ScriptedEngine):
    """Says its name; fails as it is told to, at once or after its first piece."""

    def __init__(self, name: str, *, base_model: str = "one") -> None:
        super().__init__(lambda _: f"<think>x</think>{name}", base_model=base_model)
        self.fails: EngineError | None = None
        self.fails_late = False
        self.asked = 0

    async def stream(self, request: ModelRequest) -> AsyncGenerator[str | Completion, None]:
        self.asked += 1
        if self.fails is not None and not self.fails_late:
            raise self.fails
        async for piece in super().stream(request):
            yield piece
            if self.fails is not None:
                raise self.fails

    async def start(self) -> None:
        if self.fails is not None:
            raise self.fails

    async def check(self) -> None:
        await self.start()

    async def load_adapter(self, version: str, path: Path) -> None:
        if self.fails is not None:
            raise self.fails
        await super().load_adapter(version, path)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def pool(count: int = 2) -> tuple[PooledEngine, list[Moody], Clock]:
    members, clock = [Moody(str(number)) for number in range(count)], Clock()
    return PooledEngine(members, clock=clock), members, clock


async def said(engine: PooledEngine, times: int, request: ModelRequest = ASK) -> list[str]:
    return [(await complete(engine, request)).text[-1] for _ in range(times)]


async def test_calls_go_round() -> None:
    engine, _, _ = pool(3)
    assert sorted(await said(engine, 6)) == ["0", "0", "1", "1", "2", "2"]


@pytest.mark.parametrize("error", [EngineDown("gone"), EngineBusy("full")])
async def test_a_call_that_has_not_begun_goes_on_to_another(error: EngineError) -> None:
    engine, members, _ = pool()
    members[0].fails = error
    assert await said(engine, 4) == ["1"] * 4


async def let_checks_run() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_an_engine_that_is_down_gets_no_call_until_a_check_finds_it_well() -> None:
    engine, members, clock = pool()
    members[0].fails = EngineDown("gone")
    await said(engine, 6)
    for _ in range(3):
        clock.now += ASIDE_S
        assert await said(engine, 2) == ["1", "1"]
        await let_checks_run()
    assert members[0].asked == 1
    members[0].fails = None
    clock.now += ASIDE_S
    assert await said(engine, 1) == ["1"]  # which gives rise to the check
    await let_checks_run()
    assert set(await said(engine, 2)) == {"0", "1"}


async def test_a_check_that_fails_for_another_reason_leaves_the_engine_away(
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine, members, clock = pool()
    members[0].fails = EngineDown("gone")
    await said(engine, 2)
    members[0].fails = ConfigError("serves another model now")  # type: ignore[assignment]
    clock.now += ASIDE_S
    await said(engine, 1)
    await let_checks_run()
    assert await said(engine, 2) == ["1", "1"]
    assert "server 1 of 2 stays away: serves another model now" in caplog.text


async def test_when_all_are_away_a_call_is_tried_all_the_same() -> None:
    engine, members, _ = pool()
    for member in members:
        member.fails = EngineDown("gone")
    with pytest.raises(EngineDown):
        await complete(engine, ASK)
    members[1].fails = None
    assert await said(engine, 2) == ["1", "1"]


async def test_a_call_whose_text_is_out_is_not_begun_again() -> None:
    engine, members, _ = pool()
    for member in members:
        member.fails, member.fails_late = EngineDown("died"), True
    with pytest.raises(EngineDown, match="died"):
        await complete(engine, ASK)
    assert sum(member.asked for member in members) == 1


async def test_when_all_are_full_the_client_hears_when_to_come_back() -> None:
    engine, members, _ = pool()
    members[0].fails, members[1].fails = EngineDown("gone"), EngineBusy("full", retry_after_s=7)
    for _ in range(2):
        with pytest.raises(EngineBusy) as caught:
            await complete(engine, ASK)
        assert caught.value.retry_after_s == 7


async def test_one_that_answers_is_enough_to_start_and_none_is_not() -> None:
    engine, members, _ = pool()
    members[0].fails, members[1].fails = EngineDown("gone"), EngineDown("gone too")
    with pytest.raises(EngineDown, match=r"none of 2.*gone too"):
        await engine.start()
    engine, members, _ = pool()
    members[0].fails = EngineDown("gone")
    await engine.start()
    members[1].fails = EngineDown("gone too")
    await engine.start()  # again: nobody is asked


async def test_an_adapter_is_loaded_on_all_and_later_on_those_that_were_away() -> None:
    engine, members, clock = pool()
    members[0].fails = EngineDown("gone")
    await engine.load_adapter("v1", Path("v1"))
    assert [sorted(member.adapters) for member in members] == [[], ["v1"]]
    members[0].fails = None
    clock.now += ASIDE_S
    request = ModelRequest(ASK.messages, (), adapter="v1")
    assert await said(engine, 1, request) == ["1"]
    await let_checks_run()
    assert [sorted(member.adapters) for member in members] == [["v1"], ["v1"]]
    assert set(await said(engine, 2, request)) == {"0", "1"}
    await engine.unload_adapter("v1")
    assert [sorted(member.adapters) for member in members] == [[], []]
    with pytest.raises(AdapterError, match="not loaded"):
        await complete(engine, request)


async def test_an_adapter_that_one_refuses_is_on_none() -> None:
    engine, members, _ = pool()
    members[0].fails = AdapterError("of another shape")  # type: ignore[assignment]
    with pytest.raises(AdapterError, match="shape"):
        await engine.load_adapter("v1", Path("v1"))
    assert [sorted(member.adapters) for member in members] == [[], []]


def test_engines_of_different_models_are_no_pool() -> None:
    with pytest.raises(ConfigError, match="one model"):
        PooledEngine([Moody("a"), Moody("b", base_model="two")])
