"""An engine that keeps count of its calls, so that an adapter is let go only when unused."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

from tooln1_agent.engines.base import Engine, EngineInfo, ModelRequest
from tooln1_agent.messages import Completion
from tooln1_agent.telemetry import BASE, Metrics


class TrackedEngine:
    """Passes everything on to another engine; counts calls in flight by adapter version."""

    def __init__(self, engine: Engine, metrics: Metrics) -> None:
        self._engine, self._metrics = engine, metrics
        self._in_flight: Counter[str | None] = Counter()
        self.is_started = False
        """Whether the engine has said that it is ready."""

    @property
    def info(self) -> EngineInfo:
        return self._engine.info

    def in_flight(self, version: str | None) -> int:
        """Return how many calls of an adapter version have not ended."""
        return self._in_flight[version]

    async def stream(self, request: ModelRequest) -> AsyncGenerator[str | Completion, None]:
        gauge = self._metrics.model_calls_in_flight.labels(request.adapter or BASE)
        self._in_flight[request.adapter] += 1
        gauge.inc()
        started = time.perf_counter()
        try:
            async with aclosing(self._engine.stream(request)) as pieces:
                async for piece in pieces:
                    if isinstance(piece, Completion):
                        self._metrics.count_completion(piece)
                    yield piece
        finally:
            self._metrics.model_call_seconds.observe(time.perf_counter() - started)
            self._in_flight[request.adapter] -= 1
            gauge.dec()

    async def load_adapter(self, version: str, path: Path) -> None:
        await self._engine.load_adapter(version, path)

    async def unload_adapter(self, version: str) -> None:
        await self._engine.unload_adapter(version)
        self._metrics.model_calls_in_flight.remove(version)

    async def start(self) -> None:
        await self._engine.start()
        self.is_started = True

    async def aclose(self) -> None:
        self.is_started = False
        await self._engine.aclose()
