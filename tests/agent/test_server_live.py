"""The adapter that serves follows the store's pointer, and no request fails or waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.agent.served import CHAT, body, kit
from tooln1_agent.adapters import AdapterStore
from tooln1_agent.engines.base import ModelRequest, complete
from tooln1_agent.engines.scripted import ScriptedEngine
from tooln1_agent.errors import AdapterError, EngineBusy
from tooln1_agent.messages import Completion, Message
from tooln1_agent.renderers.tooln1 import TOOLN1
from tooln1_agent.server.live import AdapterPointer
from tooln1_agent.server.tracked import TrackedEngine
from tooln1_agent.telemetry import Metrics


def say(request: ModelRequest) -> str:
    return "<think>x</think>hello"


class Picky(ScriptedEngine):
    """Refuses the adapters it is told to, and can be busy."""

    def __init__(self) -> None:
        super().__init__(say)
        self.refused: set[str] = set()
        self.is_busy = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def load_adapter(self, version: str, path: Path) -> None:
        if version in self.refused:
            raise AdapterError(f"{version} has tensors of another shape")
        await super().load_adapter(version, path)

    async def stream(self, request: ModelRequest) -> AsyncIterator[str | Completion]:
        if self.is_busy:
            raise EngineBusy("full")
        if request.adapter is not None and request.adapter not in self.adapters:
            raise AdapterError(f"{request.adapter} is not loaded")
        async for piece in super().stream(request):
            await self.gate.wait()
            yield piece


@pytest.fixture
def store(tmp_path: Path) -> AdapterStore:
    return AdapterStore(tmp_path / "adapters")


def add(
    store: AdapterStore,
    weights: bytes,
    *,
    base_model: str = "scripted",
    prompt_version: str = TOOLN1.version,
) -> str:
    source = store.root.parent / f"trained-{weights.hex()}"
    source.mkdir()
    (source / "adapter_config.json").write_text("{}")
    (source / "adapter_model.safetensors").write_bytes(weights)
    added = store.add(
        source,
        base_model=base_model,
        parent=None,
        prompt_version=prompt_version,
        trained_on={},
        config_hash="c0ffee",
    )
    return added.version


def watched(store: AdapterStore | None) -> tuple[AdapterPointer, Picky, TrackedEngine, Metrics]:
    metrics = Metrics()
    engine = Picky()
    tracked = TrackedEngine(engine, metrics)
    return AdapterPointer(tracked, store, metrics=metrics), engine, tracked, metrics


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


async def test_the_live_adapter_is_loaded_tried_and_served(store: AdapterStore) -> None:
    pointer, engine, _, metrics = watched(store)
    version = add(store, b"1")
    store.promote(version, reason="test")
    await pointer.look()
    assert pointer.version() == version
    assert pointer.is_settled
    assert list(engine.adapters) == [version]
    assert [request.adapter for request in engine.requests] == [version]  # the probe
    assert value(metrics, "tooln1_adapter_swaps_total") == 1
    assert value(metrics, "tooln1_adapter_info", version=version) == 1
    assert value(metrics, "tooln1_adapter_info", version="base") is None


async def test_without_adapters_the_base_model_serves(store: AdapterStore) -> None:
    for source in (None, store):
        pointer, _, _, _ = watched(source)
        await pointer.look()
        assert pointer.version() is None
        assert pointer.is_settled


async def test_the_old_adapter_goes_when_its_last_call_has_ended(store: AdapterStore) -> None:
    pointer, engine, tracked, metrics = watched(store)
    one, two = add(store, b"1"), add(store, b"2")
    store.promote(one, reason="test")
    await pointer.look()
    request = ModelRequest((Message(role="user", content="hi"),), (), adapter=pointer.version())
    running = tracked.stream(request)
    await anext(running)
    store.promote(two, reason="test")
    for _ in range(4):
        await pointer.look()
    assert pointer.version() == two
    assert set(engine.adapters) == {one, two}
    assert value(metrics, "tooln1_model_calls_in_flight", adapter=one) == 1
    completions = [piece async for piece in running if isinstance(piece, Completion)]
    assert completions[0].adapter == one
    for _ in range(2):
        await pointer.look()
    assert set(engine.adapters) == {two}


async def test_a_call_that_has_read_the_pointer_but_not_begun_is_waited_for(
    store: AdapterStore,
) -> None:
    pointer, engine, tracked, _ = watched(store)
    one, two = add(store, b"1"), add(store, b"2")
    store.promote(one, reason="test")
    await pointer.look()
    late = ModelRequest((Message(role="user", content="hi"),), (), adapter=pointer.version())
    store.promote(two, reason="test")
    await pointer.look()
    await pointer.look()
    assert (await complete(tracked, late)).adapter == one
    await pointer.look()
    assert set(engine.adapters) == {two}


async def test_going_back_to_the_base_unloads_the_adapter(store: AdapterStore) -> None:
    pointer, engine, _, _ = watched(store)
    store.promote(add(store, b"1"), reason="test")
    await pointer.look()
    store.rollback()
    for _ in range(3):
        await pointer.look()
    assert pointer.version() is None
    assert engine.adapters == {}


async def test_an_adapter_that_comes_back_before_it_is_unloaded_stays(store: AdapterStore) -> None:
    pointer, engine, _, _ = watched(store)
    one, two = add(store, b"1"), add(store, b"2")
    for version in (one, two, one):
        store.promote(version, reason="test")
        await pointer.look()
    for _ in range(4):
        await pointer.look()
    assert pointer.version() == one
    assert set(engine.adapters) == {one}


async def test_a_bad_adapter_is_counted_once_and_the_old_one_serves_on(store: AdapterStore) -> None:
    pointer, engine, _, metrics = watched(store)
    good, bad, better = add(store, b"1"), add(store, b"2"), add(store, b"3")
    engine.refused.add(bad)
    for version in (good, bad):
        store.promote(version, reason="test")
        await pointer.look()
    await pointer.look()
    assert pointer.version() == good
    assert pointer.is_settled
    assert bad in str(pointer.problem)
    assert value(metrics, "tooln1_adapter_failures_total") == 1
    store.promote(better, reason="test")
    await pointer.look()
    assert pointer.version() == better
    assert pointer.problem is None


@pytest.mark.parametrize("trained_for", [{"base_model": "other"}, {"prompt_version": "other"}])
async def test_an_adapter_for_another_base_or_prompt_never_serves(
    store: AdapterStore, trained_for: dict[str, str]
) -> None:
    pointer, engine, _, _ = watched(store)
    store.promote(add(store, b"1", **trained_for), reason="test")
    await pointer.look()
    assert pointer.version() is None
    assert not pointer.is_settled
    assert "'other'" in str(pointer.problem)
    assert engine.adapters == {}


async def test_a_damaged_adapter_never_serves(store: AdapterStore) -> None:
    pointer, _, _, _ = watched(store)
    version = add(store, b"1")
    store.promote(version, reason="test")
    (store.root / version / "adapter_model.safetensors").write_bytes(b"other")
    await pointer.look()
    assert pointer.version() is None
    assert version in str(pointer.problem)


async def test_a_damaged_pointer_changes_nothing_and_is_reported_once(store: AdapterStore) -> None:
    pointer, _, _, metrics = watched(store)
    version = add(store, b"1")
    store.promote(version, reason="test")
    await pointer.look()
    (store.root / "live.json").write_text("{")
    for _ in range(3):
        await pointer.look()
    assert pointer.version() == version
    assert value(metrics, "tooln1_adapter_failures_total") == 1


async def test_a_busy_engine_only_delays_a_new_adapter(store: AdapterStore) -> None:
    pointer, engine, _, metrics = watched(store)
    version = add(store, b"1")
    store.promote(version, reason="test")
    engine.is_busy = True
    await pointer.look()
    assert pointer.version() is None
    engine.is_busy = False
    await pointer.look()
    assert pointer.version() == version
    assert value(metrics, "tooln1_adapter_failures_total") == 0


async def test_a_probe_that_fails_leaves_nothing_loaded(store: AdapterStore) -> None:
    pointer, engine, _, _ = watched(store)
    store.promote(add(store, b"1"), reason="test")
    engine._reply_to = _fail
    await pointer.look()
    assert pointer.version() is None
    assert engine.adapters == {}


def _fail(request: ModelRequest) -> str:
    raise RuntimeError("out of memory")


def test_traffic_goes_on_while_adapters_are_swapped(store: AdapterStore) -> None:
    versions = [add(store, bytes([number])) for number in range(4)]
    made = kit(engine=Picky(), adapters=store, adapter_poll_s=0.02)
    with made.on_socket() as address:
        served = asyncio.run(_ask_while_swapping(address, store, versions))
    assert {status for status, _ in served} == {200}
    assert {adapter for _, adapter in served} >= {"base", versions[-1]}
    kept = [turn.completion.adapter for i in made.store.interactions() for turn in i.turns]
    assert set(kept) == {None if adapter == "base" else adapter for _, adapter in served}


async def _ask_while_swapping(
    address: str, store: AdapterStore, versions: list[str]
) -> list[tuple[int, str]]:
    """Ask from eight clients until the last version has been seen to serve."""
    served: list[tuple[int, str]] = []

    async def ask(client: httpx.AsyncClient) -> None:
        while not served or served[-1][1] != versions[-1]:
            response = await client.post(CHAT, json=body())
            served.append((response.status_code, response.headers["x-adapter"]))

    async with httpx.AsyncClient(base_url=address, timeout=60) as client:
        served.append((200, (await client.post(CHAT, json=body())).headers["x-adapter"]))
        asking: list[Any] = [asyncio.create_task(ask(client)) for _ in range(8)]
        for version in versions:
            store.promote(version, reason="test")
            while served[-1][1] != version:  # noqa: ASYNC110 - seen by other tasks
                await asyncio.sleep(0.01)
        await asyncio.gather(*asking)
    return served
