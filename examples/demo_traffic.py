"""Live traffic: many people at once, and a trickle that goes on while other things happen."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

from examples.demo_config import DemoConfig
from examples.demo_people import Mood, People, Served
from examples.demo_processes import DemoError
from examples.demo_scores import Verdict
from tooln1_agent.replay.store import ReplayStore
from tooln1_agent.reward import score
from trainer.seed.deployment import Request

Item = TypeVar("Item")
Result = TypeVar("Result")


def draw_moods(config: DemoConfig) -> list[Mood]:
    """Draw what each person of the traffic is going to do."""
    rng = random.Random(config.seed)
    mix = config.feedback
    return [
        Mood(
            mode="agent" if rng.random() < config.agent_share else "client",
            speaks=rng.random() < mix.speaks,
            accepts=rng.random() < mix.accepts,
            errs=rng.random() < mix.errs,
        )
        for _ in range(config.requests)
    ]


async def send_all(
    items: Sequence[Item], send: Callable[[Item], Awaitable[Result]], *, concurrency: int
) -> list[Result]:
    """Send every item, `concurrency` at once; return the results in the items' order.

    Raises:
        DemoError: sending one of them raised; the others are given up.
    """
    places = asyncio.Semaphore(concurrency)

    async def one(item: Item) -> Result:
        async with places:
            return await send(item)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(item)) for item in items]
    except ExceptionGroup as failures:
        first = failures.exceptions[0]
        raise DemoError(f"a request failed: {type(first).__name__}: {first}") from first
    return [task.result() for task in tasks]


@asynccontextmanager
async def trickle(
    people: People, requests: Sequence[Request], *, per_s: float, at_once: int
) -> AsyncIterator[list[Served]]:
    """Keep requests coming at a steady rate while the block runs; all of them are seen through.

    The list given to the block grows as they are served.

    Args:
        at_once: most requests under way; while there are as many, no further one comes.
    """
    served: list[Served] = []
    stop = asyncio.Event()
    places = asyncio.Semaphore(at_once)

    async def one(request: Request, mood: Mood) -> None:
        async with places:
            served.append(await people.ask(request, mood))

    async def keep_coming() -> None:
        async with asyncio.TaskGroup() as group:
            number = 0
            while not stop.is_set():
                if not places.locked():
                    mood = Mood(mode="client" if number % 3 else "agent")
                    group.create_task(one(requests[number % len(requests)], mood))
                    number += 1
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), timeout=1 / per_s)

    task = asyncio.create_task(keep_coming())
    try:
        yield served
    finally:
        stop.set()
        await task


async def evaluate(
    people: People,
    store: ReplayStore,
    requests: Sequence[Request],
    *,
    concurrency: int,
    on_done: Callable[[], None],
) -> list[Verdict]:
    """Ask every request over HTTP and score what the model wrote, as the store has it."""

    async def one(request: Request) -> Verdict:
        interaction = store.interaction(await people.only_ask(request))
        completion = interaction.turns[0].completion
        reward = score(completion.text, tools=interaction.tools, target=request.target)
        on_done()
        return Verdict(
            text=request.text,
            is_call=bool(request.gold),
            ok=reward.value == 1.0,
            reason=reward.reason,
            reply=completion.text,
            adapter=completion.adapter,
        )

    return await send_all(requests, one, concurrency=concurrency)
