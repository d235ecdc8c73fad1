"""Sixteen clients stream without a pause while the live adapter changes under them."""

from __future__ import annotations

import asyncio
import itertools
import json
import statistics
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from tests.agent.served import ASKED, CHAT, WEATHER_TOOL, kit
from tests.e2e.vllm_models import Torch, furthest
from tooln1_agent.adapters import AdapterStore
from tooln1_agent.engines.base import Engine, EngineInfo, ModelRequest
from tooln1_agent.messages import Completion

CLIENTS = 16
FIGURES_AGREE = 5e-3
"""Nats; engine and torch compute in float32, in another order."""


@dataclass(slots=True)
class Answer:
    """One streamed answer, as its client saw it."""

    interaction: str
    adapter: str
    status: int
    chunks: list[float] = field(default_factory=list)
    """When each piece of content came, in seconds."""
    error: str = ""
    """Code of the error that was told in the stream."""
    last: str = ""
    """What the stream ended with."""

    @property
    def gaps(self) -> list[float]:
        return [after - before for before, after in itertools.pairwise(self.chunks)]


class Call(NamedTuple):
    """One model call, as the server made it."""

    adapter: str | None
    began: float
    ended: float


class Watched:
    """An engine with a note of each call."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.calls: list[Call] = []
        self.pieces: Counter[int | None] = Counter()
        """Given so far, by the seeds of the calls that go on."""

    @property
    def info(self) -> EngineInfo:
        return self._engine.info

    async def stream(self, request: ModelRequest) -> AsyncGenerator[str | Completion, None]:
        began = time.perf_counter()
        try:
            async with aclosing(self._engine.stream(request)) as pieces:
                async for piece in pieces:
                    self.pieces[request.sampling.seed] += 1
                    yield piece
        finally:  # whoever has the completion asks no further
            del self.pieces[request.sampling.seed]
            self.calls.append(Call(request.adapter, began, time.perf_counter()))

    async def load_adapter(self, version: str, path: Path) -> None:
        await self._engine.load_adapter(version, path)

    async def unload_adapter(self, version: str) -> None:
        await self._engine.unload_adapter(version)

    async def start(self) -> None:
        await self._engine.start()

    async def aclose(self) -> None:
        await self._engine.aclose()


@dataclass(frozen=True, slots=True)
class Load:
    """What the clients saw, what the server did, and what the store has of it."""

    answers: list[Answer]
    calls: list[Call]
    completions: list[Completion]

    def figures(self) -> dict[str, float]:
        """Return the gaps between pieces of a stream, in milliseconds."""
        gaps = [gap * 1000 for answer in self.answers for gap in answer.gaps]
        return {
            "answers": len(self.answers),
            "p50_gap_ms": round(statistics.median(gaps), 1),
            "p99_gap_ms": round(statistics.quantiles(gaps, n=100)[98], 1),
            "longest_gap_ms": round(max(gaps), 1),
        }


def swap_under_load(
    engine: Engine, adapters: AdapterStore, versions: list[str], *, tokens: int = 24
) -> Load:
    """Make each version live in turn, going on when the clients have seen the one before.

    Args:
        tokens: of the shortest answer; the longest has three times as many.
    """
    watched = Watched(engine)
    made = kit(engine=watched, adapters=adapters, adapter_poll_s=0.05)
    with made.on_socket() as address:
        answers = asyncio.run(
            _ask_while(address, tokens, lambda seen: _swaps(adapters, versions, seen))
        )
    return Load(answers, watched.calls, _logged(made.store))


def stay_under_load(
    engine: Engine, adapters: AdapterStore, *, answers: int, tokens: int = 24
) -> Load:
    """Load the server likewise and change nothing, until it has given so many answers."""
    watched = Watched(engine)
    made = kit(engine=watched, adapters=adapters)
    with made.on_socket() as address:
        got = asyncio.run(_ask_while(address, tokens, lambda seen: _enough(seen, answers)))
    return Load(got, watched.calls, _logged(made.store))


def check_swaps(
    load: Load, versions: list[str], *, model_dir: Path, adapters: AdapterStore
) -> None:
    """No request failed, swaps had calls in flight, and no completion mixes versions."""
    assert {answer.status for answer in load.answers} == {200}
    assert {answer.last for answer in load.answers} == {"[DONE]"}
    assert {answer.error for answer in load.answers} == {""}
    served = {answer.adapter for answer in load.answers}
    assert served == {*versions}
    overlaps = [_in_flight(load.calls, old, new) for old, new in itertools.pairwise(versions)]
    # A busy machine may read the end of every old answer before the new version is tried, or before
    # it sends the first new request; not at each swap.
    assert sum(during > 0 for during, _ in overlaps) > len(overlaps) / 2, overlaps
    assert any(after > 0 for _, after in overlaps), overlaps
    # What an answer's header says served it is what the log says, one for one.
    told = Counter(answer.adapter for answer in load.answers)
    assert told == Counter(completion.adapter for completion in load.completions)
    check_logprobs(load.completions, model_dir=model_dir, adapters=adapters)


def check_logprobs(
    completions: Iterable[Completion], *, model_dir: Path, adapters: AdapterStore
) -> None:
    """What was logged is what torch says of the version that is logged with it."""
    model = Torch(model_dir)
    for completion in completions:
        assert completion.adapter is not None
        expected = model.logprobs(completion, adapter=adapters.get(completion.adapter).path)
        assert furthest(completion.logprobs or (), expected) < FIGURES_AGREE


def _in_flight(calls: list[Call], old: str, new: str) -> tuple[int, int]:
    """Count the old version's calls that ran while the new one was put to use, and after that."""
    tried, moved = sorted(call.began for call in calls if call.adapter == new)[:2]
    ends = [call.ended for call in calls if call.adapter == old and call.began < moved]
    return sum(end > tried for end in ends), sum(end > moved for end in ends)


async def _ask_while(
    address: str, tokens: int, until: Callable[[list[Answer]], Awaitable[None]]
) -> list[Answer]:
    answers: list[Answer] = []
    numbers = itertools.count()
    over = False

    async def ask(client: httpx.AsyncClient) -> None:
        while not over:
            answers.append(await stream_answer(client, next(numbers), tokens))

    async with httpx.AsyncClient(base_url=address, timeout=120) as client:
        asking = [asyncio.create_task(ask(client)) for _ in range(CLIENTS)]
        await until(answers)
        over = True
        await asyncio.gather(*asking)
    return answers


async def _swaps(adapters: AdapterStore, versions: list[str], seen: list[Answer]) -> None:
    for now, following in itertools.pairwise([*versions, None]):
        while sum(answer.adapter == now for answer in seen) < CLIENTS // 2:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        if following is not None:
            adapters.promote(following, reason="test")


async def _enough(seen: list[Answer], count: int) -> None:
    while len(seen) < count:  # noqa: ASYNC110 - seen by other tasks
        await asyncio.sleep(0.02)


def asking(number: int, tokens: int, *, stream: bool) -> dict[str, Any]:
    """Return a request whose answer has `tokens` at least; of many lengths, lest all end at once.

    Args:
        number: of the request; different ones are answered differently.
    """
    return {
        "model": "helper",
        "messages": ASKED,
        "tools": [WEATHER_TOOL],
        "stream": stream,
        "temperature": 1.0,
        "seed": number,
        "max_tokens": tokens + 7 * number % (2 * tokens),
    }


async def stream_answer(client: httpx.AsyncClient, number: int, tokens: int) -> Answer:
    """Ask, and read the stream to its end."""
    body = asking(number, tokens, stream=True)
    async with client.stream("POST", CHAT, json=body) as response:
        interaction = response.headers.get("x-interaction-id", "")
        answer = Answer(interaction, response.headers.get("x-adapter", ""), response.status_code)
        async for data in _events(response):
            answer.last = data
            said = {} if data == "[DONE]" else json.loads(data)
            answer.error = answer.error or said.get("error", {}).get("code", "")
            if _has_content(said):
                answer.chunks.append(time.perf_counter())
    return answer


async def _events(response: httpx.Response) -> AsyncIterator[str]:
    """Split at blank lines alone: what a random model says holds every other line end."""
    buffer = ""
    async for text in response.aiter_text():
        *whole, buffer = (buffer + text).split("\n\n")
        for event in whole:
            yield event.removeprefix("data: ")


def _has_content(said: dict[str, Any]) -> bool:
    choices = said.get("choices") or [{}]
    return bool(choices[0].get("delta", {}).get("content"))


def _logged(store: Any) -> list[Completion]:
    def completions() -> Iterator[Completion]:
        for interaction in store.interactions():
            for turn in interaction.turns:
                yield turn.completion

    return list(completions())
