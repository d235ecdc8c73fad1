"""A server for tests: a scripted agent behind the real application, in process or on a socket."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI

from tooln1_agent.adapters import AdapterStore
from tooln1_agent.agent import Agent
from tooln1_agent.config import ServeConfig
from tooln1_agent.engines.base import Engine, ModelRequest
from tooln1_agent.engines.scripted import ScriptedEngine
from tooln1_agent.replay.store import ReplayStore
from tooln1_agent.server.app import create_app
from tooln1_agent.server.run import listen, url

CHAT = "/v1/chat/completions"
CALL_WEATHER = (
    '<think>ask</think><tool_call>[{"name": "weather", "arguments": {"city": "Rome"}}]</tool_call>'
)
ANSWER = "<think>It is known.</think>It is sunny in Rome."
WEATHER_TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
ASKED = [{"role": "user", "content": "What is the weather in Rome?"}]


def weather(city: str) -> str:
    """The weather in a city.

    Args:
        city: Its name.
    """
    return f"sunny in {city}"


def call_then_answer(request: ModelRequest) -> str:
    """Call the tool first, and answer once its result is there."""
    return ANSWER if request.messages[-1].role == "tool" else CALL_WEATHER


@dataclass(frozen=True, slots=True)
class Kit:
    """An application and what is behind it."""

    app: FastAPI
    engine: Any
    store: ReplayStore

    @contextmanager
    def on_socket(self) -> Iterator[str]:
        """Serve on a real socket; yield the address."""
        listener = listen("127.0.0.1", 0)
        config = uvicorn.Config(self.app, log_config=None, access_log=False, lifespan="on")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            until(lambda: server.started or not thread.is_alive(), seconds=180)
            yield url(listener)
        finally:
            server.should_exit = True
            thread.join(timeout=30)
            listener.close()
        assert not thread.is_alive()

    def client(self, **headers: str) -> httpx.AsyncClient:
        """Talk to the application in process."""
        transport = httpx.ASGITransport(app=self.app)
        return httpx.AsyncClient(
            transport=transport, base_url="http://127.0.0.1:8300", headers=headers
        )


def kit(
    replies: Iterable[str] | Callable[[ModelRequest], str] = call_then_answer,
    *,
    engine: Engine | None = None,
    adapters: AdapterStore | None = None,
    context_limit: int | None = None,
    agent: dict[str, Any] | None = None,
    deps: Any = None,
    store: ReplayStore | None = None,
    **config: Any,
) -> Kit:
    """Return an application whose model says what `replies` say."""
    engine = engine or ScriptedEngine(replies, context_limit=context_limit)
    store = store or ReplayStore(":memory:")
    options = {"tools": [weather], "instructions": "Be brief.", "name": "helper", **(agent or {})}
    app = create_app(
        Agent(engine, **options),
        engine=engine,
        store=store,
        adapters=adapters,
        config=ServeConfig(**config),
        deps=deps,
    )
    return Kit(app, engine, store)


def body(**fields: Any) -> dict[str, Any]:
    """Return the body of a chat request, changed by `fields`."""
    return {"model": "helper", "messages": ASKED, **fields}


def until(done: Callable[[], Any], *, seconds: float = 20.0) -> None:
    """Wait for something that another thread does."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)
