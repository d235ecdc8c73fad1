"""The HTTP application: routes, the guard around them, and what runs beside them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from tooln1_agent.adapters import AdapterStore
from tooln1_agent.agent import Agent
from tooln1_agent.config import ServeConfig
from tooln1_agent.engines.base import Engine
from tooln1_agent.replay.store import ReplayStore
from tooln1_agent.server import chat, feedback, problems, status
from tooln1_agent.server.auth import Keyring
from tooln1_agent.server.guard import Guard
from tooln1_agent.server.live import AdapterPointer
from tooln1_agent.server.service import Service
from tooln1_agent.server.tracked import TrackedEngine
from tooln1_agent.telemetry import Metrics

PATHS = ("/v1/chat/completions", "/v1/models", "/v1/feedback", "/healthz", "/readyz", "/metrics")


def create_app(
    agent: Agent,
    *,
    engine: Engine,
    store: ReplayStore,
    adapters: AdapterStore | None,
    config: ServeConfig,
    deps: Any = None,
) -> FastAPI:
    """Return the application of one agent.

    Its lifespan starts the engine, follows the live adapter and closes the engine at the end; the
    store is the caller's to close.

    Args:
        adapters: whose live adapter is served; None serves the base model alone.
        deps: handed to the agent's tools in their `RunContext`, for every request.
    """
    metrics = Metrics()
    tracked = TrackedEngine(engine, metrics)
    pointer = AdapterPointer(tracked, adapters, metrics=metrics)
    service = Service(
        agent=agent,
        engine=tracked,
        store=store,
        pointer=pointer,
        keys=Keyring(config.api_keys),
        metrics=metrics,
        config=config,
        deps=deps,
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None, None]:
        await tracked.start()
        await pointer.look()
        watching = asyncio.create_task(pointer.watch(every_s=config.adapter_poll_s))
        try:
            yield
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
            await tracked.aclose()

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    problems.install(app)
    for part in (chat, feedback, status):
        app.include_router(part.routes(service))
    if config.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=config.allowed_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type"],
            expose_headers=["x-interaction-id", "x-adapter"],
        )
    app.add_middleware(Guard, config=config, metrics=metrics, paths=PATHS)
    return app
