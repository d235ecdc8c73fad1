"""Answers that take a while: given up when the client goes away, streamed as server-sent events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Coroutine, Mapping
from typing import Any, TypeVar

import anyio
from fastapi import Request
from starlette.responses import StreamingResponse
from starlette.types import Send

from tooln1_agent.server.problems import ApiError

T = TypeVar("T")

DONE = "data: [DONE]\n\n"


def sse(body: Mapping[str, Any]) -> str:
    """Write one server-sent event."""
    return f"data: {json.dumps(body, ensure_ascii=False, separators=(',', ':'))}\n\n"


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Return what `work` returns; cancel it when the client goes away first.

    The request's body must have been read.

    Raises:
        ApiError: 499, which nobody receives, but the metrics count.
    """
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ApiError(499, "the client closed the request", code="client_gone")
    finally:
        task.cancel()
        gone.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


class EventStream(StreamingResponse):
    """A stream whose generator is closed in any case, at once when the client goes away."""

    media_type = "text/event-stream"

    def __init__(self, content: AsyncGenerator[str, None], *, headers: Mapping[str, str]) -> None:
        unbuffered = {"cache-control": "no-cache", "x-accel-buffering": "no"}
        super().__init__(content, headers={**unbuffered, **headers})
        self._content = content

    async def stream_response(self, send: Send) -> None:
        try:
            await super().stream_response(send)
        finally:
            with anyio.CancelScope(shield=True):
                await self._content.aclose()
