"""Plays benchmark rows through a server, as a client would, and scores what the model wrote."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from openai import APIStatusError, AsyncOpenAI

from examples.demo_traffic import send_all
from tool_registry.calls import ToolCall
from tooln1_agent.datasets import BenchmarkRow, read_benchmark
from tooln1_agent.examples import NoCall, example_id, split_of
from tooln1_agent.messages import Message
from tooln1_agent.replay.store import ReplayStore
from tooln1_agent.reward import score

OVER_LIMIT = "context_length_exceeded"
_REFUSED = range(400, 500)
_BUSY = 429


@dataclass(frozen=True, slots=True)
class Played:
    """One row as it went through the server. What the server refused is wrong."""

    row: str
    is_call: bool
    ok: bool
    reason: str
    refused: str = ""
    """The error's code where the server refused the request with a 4xx status."""
    adapter: str = ""
    """Which version answered, "base" for none."""


def choose(path: Path, *, n: int, seed: int) -> list[BenchmarkRow]:
    """Draw rows at random, each prompt once.

    Raises DataError where the file is not of the benchmark form.
    """
    by_prompt = {example_id(row.messages, row.tools): row for row in read_benchmark(path)}
    rows = list(by_prompt.values())
    return random.Random(seed).sample(rows, min(n, len(rows)))


def split(
    rows: Iterable[BenchmarkRow], *, holdout_share: float
) -> tuple[list[BenchmarkRow], list[BenchmarkRow]]:
    """Return the traffic and the held-out rows, apart by user text as the store splits them."""
    sides: dict[str, list[BenchmarkRow]] = {"train": [], "holdout": []}
    for row in rows:
        sides[split_of(row.messages, holdout_share=holdout_share)].append(row)
    return sides["train"], sides["holdout"]


class Player:
    """Sends rows to one server with the `openai` client; each brings its own tools."""

    def __init__(self, url: str, store: ReplayStore, *, max_tokens: int, concurrency: int) -> None:
        self._client = AsyncOpenAI(base_url=f"{url}/v1", api_key="none-needed", timeout=300)
        self._store = store
        self._max_tokens, self._concurrency = max_tokens, concurrency

    async def aclose(self) -> None:
        await self._client.close()

    async def adapter(self) -> str:
        """Ask next to nothing; return which version answers, "base" for none."""
        raw = await self._client.chat.completions.with_raw_response.create(
            model="benchmark",
            messages=[{"role": "user", "content": "Hello."}],
            max_tokens=8,
            store=False,
        )
        return raw.headers["x-adapter"]

    async def play(
        self, rows: Sequence[BenchmarkRow], *, on_done: Callable[[], None], learn: bool = True
    ) -> list[Played]:
        """Send every row, greedy, and score the completions as the store has them.

        Args:
            learn: whether the server may learn from these requests.
        """

        async def one(row: BenchmarkRow) -> Played:
            played = await self._one(row, learn=learn)
            on_done()
            return played

        return await send_all(rows, one, concurrency=self._concurrency)

    async def _one(self, row: BenchmarkRow, *, learn: bool) -> Played:
        is_call = not isinstance(row.target, NoCall)
        try:
            raw = await self._client.chat.completions.with_raw_response.create(
                model="benchmark",
                messages=[_wire(message) for message in row.messages],
                tools=cast(Any, [tool.to_openai() for tool in row.tools]),
                temperature=0.0,
                max_tokens=self._max_tokens,
                store=learn,
            )
        except APIStatusError as problem:
            if problem.status_code not in _REFUSED or problem.status_code == _BUSY:
                raise
            code = problem.code or f"status {problem.status_code}"
            return Played(row.id, is_call, ok=False, reason=problem.message, refused=code)
        completion = self._store.interaction(raw.parse().id).turns[0].completion
        reward = score(completion.text, tools=row.tools, target=row.target)
        whole = completion.finish_reason == "stop"
        return Played(
            row.id,
            is_call,
            ok=whole and reward.value == 1.0,
            reason=reward.reason if whole else "cut by max_tokens",
            adapter=raw.headers["x-adapter"],
        )


def _wire(message: Message) -> Any:
    """Write a message as the API takes it."""
    wire: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_call_id is not None:
        wire["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        wire["tool_calls"] = [_wire_call(call) for call in message.tool_calls]
    return wire


def _wire_call(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": json.dumps(call.arguments)}
    return {"id": call.id, "type": "function", "function": function}
