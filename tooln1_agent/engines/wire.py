"""A model server behind HTTP: connections, what its errors mean to us, the events of a stream."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx

from tooln1_agent.errors import EngineBusy, EngineDown, EngineError, EngineRefused
from tooln1_agent.messages import Usage

_BUSY = (429, 503)
_CONNECT_S = 5.0
"""A machine that is gone does not even refuse."""
_NO_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=64)
"""How many calls run side by side is the server's to say."""


class Wire:
    """Speaks to one server. May be used from several event loops in turn."""

    def __init__(
        self,
        root: str,
        *,
        api_key: str | None = None,
        timeout_s: float = 120.0,
        retries: int = 2,
        back_off_s: float = 0.25,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Describe the server; nothing is sent yet.

        Args:
            root: what all paths are appended to.
            timeout_s: longest silence of the server.
            retries: further attempts to connect.
            back_off_s: pause before the first of them; it doubles each time.
            transport: in place of the network, for tests.
        """
        self.root = root.rstrip("/")
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._timeout_s, self._retries, self._back_off_s = timeout_s, retries, back_off_s
        self._transport = transport
        self._client: httpx.AsyncClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @asynccontextmanager
    async def post(self, path: str, body: Mapping[str, Any]) -> AsyncIterator[httpx.Response]:
        """Open the reply to a body.

        Raises:
            EngineBusy, EngineDown, EngineRefused: what a status or a lost connection means.
        """
        async with self._answered("POST", path, json=body) as response:
            yield response

    async def get_json(self, path: str) -> dict[str, Any]:
        """Return the JSON object at a path; raises as `post` does."""
        async with self._answered("GET", path) as response:
            return _read(await response.aread())

    async def aclose(self) -> None:
        """Close the connections; the next call opens new ones."""
        client, self._client = self._client, None
        if client is not None and self._loop is asyncio.get_running_loop():
            await client.aclose()

    @asynccontextmanager
    async def _answered(
        self, method: str, path: str, **content: Any
    ) -> AsyncIterator[httpx.Response]:
        client = self._client_of_this_loop()
        url = self.root + path
        try:
            request = client.build_request(method, url, headers=self._headers, **content)
            response = await self._send(client, request)
            try:
                await _check(response, url)
                yield response
            finally:
                await response.aclose()
        except httpx.TransportError as error:
            what = str(error) or type(error).__name__
            raise EngineDown(f"cannot reach the model at {url}: {what}") from error

    async def _send(self, client: httpx.AsyncClient, request: httpx.Request) -> httpx.Response:
        for attempt in range(self._retries):
            try:
                return await client.send(request, stream=True)
            except (httpx.ConnectError, httpx.ConnectTimeout):  # nothing was sent yet
                await asyncio.sleep(self._back_off_s * 2**attempt)
        return await client.send(request, stream=True)

    def _client_of_this_loop(self) -> httpx.AsyncClient:
        loop = asyncio.get_running_loop()
        if self._client is None or self._loop is not loop:  # connections belong to a loop
            timeout = httpx.Timeout(self._timeout_s, connect=min(self._timeout_s, _CONNECT_S))
            self._client = httpx.AsyncClient(
                transport=self._transport, timeout=timeout, limits=_NO_LIMITS
            )
            self._loop = loop
        return self._client


async def events(response: httpx.Response) -> AsyncGenerator[dict[str, Any], None]:
    """Yield the JSON objects of a reply, streamed or whole.

    Raises:
        EngineError: what was sent is no JSON object, or reports an error.
    """
    if "text/event-stream" not in response.headers.get("Content-Type", ""):
        yield _read(await response.aread())
        return
    async for line in _lines(response):
        data = line.removeprefix(b"data:").strip()
        # The rest of the body stays unread, so the connection is closed: one that waits for the
        # next call may be closed by the server (after 5 s, as vLLM's does) just when that is sent.
        if data == b"[DONE]":
            return
        if line.startswith(b"data:") and data:
            yield _read(data)


def usage_of(event: Mapping[str, Any]) -> Usage | None:
    """Return the token counts that an event brings, if it does."""
    usage = event.get("usage")
    if not isinstance(usage, dict):
        return None
    return Usage(
        prompt_tokens=usage.get("prompt_tokens") or 0,
        completion_tokens=usage.get("completion_tokens") or 0,
    )


async def _check(response: httpx.Response, url: str) -> None:
    """Raise for a status other than success."""
    if response.is_success:
        return
    await response.aread()
    said = " ".join(response.text.split())[:500]
    status = response.status_code
    message = f"{url} answered {status}: {said or response.reason_phrase}"
    if status in _BUSY:
        raise EngineBusy(message, retry_after_s=_retry_after_s(response))
    if status >= 500:
        raise EngineDown(message)
    raise EngineRefused(message, status=status)


def _retry_after_s(response: httpx.Response) -> float:
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else 1.0  # the form with a date is not worth it


async def _lines(response: httpx.Response) -> AsyncIterator[bytes]:
    """Split at line feeds alone: text may hold other line ends, which httpx would split at."""
    parts: list[bytes] = []
    async for chunk in response.aiter_bytes():
        first, *begun = chunk.split(b"\n")
        parts.append(first)
        for part in begun:
            yield b"".join(parts)
            parts = [part]
    yield b"".join(parts)


def _read(data: bytes) -> dict[str, Any]:
    try:
        event = json.loads(data)
    except ValueError as problem:
        raise EngineError(f"the model's server sent no JSON: {data[:200]!r}") from problem
    if not isinstance(event, dict):
        raise EngineError(f"the model's server sent {data[:200]!r}; expected a JSON object")
    if error := event.get("error"):
        code = error.get("code") if isinstance(error, dict) else None
        kind = EngineDown if isinstance(code, int) and code >= 500 else EngineError
        raise kind(f"the model's server reported: {str(error)[:500]}")
    return event
