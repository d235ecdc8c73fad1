"""Answers that take a while: given up when the client goes away, streamed as server-sent events."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Coroutine, Mapping
from typing import Any, TypeVar

import anyio
from fastapi import Request
from starlette.responses import StreamingResponse
from starlette.types import Message, Send

from tooln1_agent.server.problems import ApiError

T = TypeVar("T")

DONE = "data: [DONE]\n\n"
_COMMENT = b": keep-alive\n\n"


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


async def first_of(
    request: Request, events: AsyncGenerator[T, None], *, patience_s: float
) -> asyncio.Future[T]:
    """Return the first event to await; it is there, unless that takes longer than `patience_s`.

    Raises:
        ApiError: the client went away; and what the first event raises, if it is here.
    """
    first = asyncio.ensure_future(anext(events))
    try:
        await unless_gone(request, _settled(first, patience_s))
    except BaseException:
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        raise
    return first


async def _settled(future: asyncio.Future[Any], patience_s: float) -> None:
    done, _ = await asyncio.wait({future}, timeout=patience_s)
    for each in done:
        each.result()


class EventStream(StreamingResponse):
    """A stream whose generator is closed in any case, at once when the client goes away.

    Where the generator has nothing to say for a while, comments keep the connection alive.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        content: AsyncGenerator[str, None],
        *,
        headers: Mapping[str, str],
        first: asyncio.Future[Any],
        keep_alive_s: float,
    ) -> None:
        """Take the text.

        Args:
            first: what the text's generator awaits first; given up with the stream.
            keep_alive_s: silence after which a comment is sent, lest a proxy cut the connection.
        """
        unbuffered = {"cache-control": "no-cache", "x-accel-buffering": "no"}
        super().__init__(content, headers={**unbuffered, **headers})
        self._content, self._first, self._keep_alive_s = content, first, keep_alive_s

    async def stream_response(self, send: Send) -> None:
        quiet_since: list[float] = []  # empty before the stream begins and after it has ended

        async def noted(message: Message) -> None:
            is_last = message["type"] == "http.response.body" and not message.get("more_body")
            quiet_since[:] = [] if is_last else [time.monotonic()]
            await send(message)

        ticking = asyncio.create_task(self._tick(noted, quiet_since))
        try:
            await super().stream_response(noted)
        finally:
            ticking.cancel()
            self._first.cancel()
            with anyio.CancelScope(shield=True):
                await self._content.aclose()
                await asyncio.gather(ticking, self._first, return_exceptions=True)

    async def _tick(self, send: Send, quiet_since: list[float]) -> None:
        wait_s = self._keep_alive_s
        while True:
            await asyncio.sleep(wait_s)
            quiet_s = time.monotonic() - quiet_since[0] if quiet_since else 0.0
            if quiet_s >= self._keep_alive_s:
                await send({"type": "http.response.body", "body": _COMMENT, "more_body": True})
                quiet_s = 0.0
            wait_s = self._keep_alive_s - quiet_s
