"""An engine behind HTTP: any server that speaks OpenAI's chat completions.

The tools are written into our system text and the reply is read as text by our own parser; the
server's `tools` field and tool parsers stay out of it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from tooln1_agent.engines.base import EngineInfo, ModelRequest
from tooln1_agent.engines.chat_format import PROMPT_VERSION, chat_messages
from tooln1_agent.errors import AdapterError, ConfigError, EngineBusy, EngineDown, EngineError
from tooln1_agent.messages import Completion, Usage

_BUSY = (429, 503)


class HttpEngine:
    """Asks one model of a chat server. May be used from several event loops in turn."""

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key: str | None = None,
        context_limit: int | None = None,
        timeout_s: float = 120.0,
        retries: int = 2,
        back_off_s: float = 0.25,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Describe the server; nothing is sent yet.

        Args:
            base_url: up to and including the version, e.g. "http://localhost:8000/v1".
            context_limit: recorded, and left to the server to enforce.
            timeout_s: longest silence of the server.
            retries: further attempts to connect.
            back_off_s: pause before the first of them; it doubles each time.
            transport: in place of the network, for tests.

        Raises:
            ConfigError: the model is not named.
        """
        if not model:
            raise ConfigError(
                f"which model of {base_url!r}? Name it after a '#': {base_url}#MODEL-NAME"
            )
        self._url = f"{base_url.rstrip('/')}/chat/completions"
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._timeout_s, self._retries, self._back_off_s = timeout_s, retries, back_off_s
        self._transport = transport
        self._info = EngineInfo(
            "chat", base_model=model, prompt_version=PROMPT_VERSION, context_limit=context_limit
        )
        self._client: httpx.AsyncClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def info(self) -> EngineInfo:
        return self._info

    async def stream(self, request: ModelRequest) -> AsyncGenerator[str | Completion, None]:
        if request.adapter is not None:
            raise self._no_adapters(request.adapter)
        texts: list[str] = []
        finish_reason: str | None = None
        usage = Usage()
        async with self._response(_body(request, self._info.base_model)) as response:
            async for event in _events(response):
                usage = _usage(event) or usage
                for choice in event.get("choices") or ():
                    finish_reason = choice.get("finish_reason") or finish_reason
                    said = choice.get("delta") or choice.get("message") or {}
                    if text := said.get("content"):
                        texts.append(text)
                        yield text
        if finish_reason is None:
            raise EngineDown(f"{self._url} ended its reply in the middle; try again")
        yield Completion(
            text="".join(texts),
            finish_reason="length" if finish_reason == "length" else "stop",
            sampling=request.sampling,
            usage=usage,
        )

    async def load_adapter(self, version: str, path: Path) -> None:
        """Refuse: a plain chat server cannot be given adapters."""
        raise self._no_adapters(version)

    async def unload_adapter(self, version: str) -> None:
        """Do nothing: none can have been loaded."""

    async def start(self) -> None:
        """Do nothing: connections are opened as they are needed."""

    async def aclose(self) -> None:
        client, self._client = self._client, None
        if client is not None and self._loop is asyncio.get_running_loop():
            await client.aclose()

    @asynccontextmanager
    async def _response(self, body: dict[str, Any]) -> AsyncIterator[httpx.Response]:
        """Open the reply; turn what goes wrong on the way into engine errors."""
        client = self._client_of_this_loop()
        try:
            request = client.build_request("POST", self._url, json=body, headers=self._headers)
            response = await self._send(client, request)
            try:
                await _check(response, self._url)
                yield response
            finally:
                await response.aclose()
        except httpx.TransportError as error:
            what = str(error) or type(error).__name__
            raise EngineDown(f"cannot reach the model at {self._url}: {what}") from error

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
            self._client = httpx.AsyncClient(transport=self._transport, timeout=self._timeout_s)
            self._loop = loop
        return self._client

    def _no_adapters(self, version: str) -> AdapterError:
        return AdapterError(
            f"adapter {version!r} cannot be served through the chat server at {self._url}; "
            "use a model directory (the local engine), or serve the base model alone"
        )


def _body(request: ModelRequest, model: str) -> dict[str, Any]:
    sampling = request.sampling
    body: dict[str, Any] = {
        "model": model,
        "messages": chat_messages(request.messages, request.tools),
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if sampling.seed is not None:
        body["seed"] = sampling.seed
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    return body


async def _check(response: httpx.Response, url: str) -> None:
    """Raise for a status other than success."""
    if response.is_success:
        return
    await response.aread()
    said = " ".join(response.text.split())[:500]
    message = f"{url} answered {response.status_code}: {said or response.reason_phrase}"
    if response.status_code in _BUSY:
        raise EngineBusy(message, retry_after_s=_retry_after_s(response))
    raise EngineError(message)


def _retry_after_s(response: httpx.Response) -> float:
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else 1.0  # the form with a date is not worth it


async def _events(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """Yield the JSON objects of a reply, streamed or whole."""
    if "text/event-stream" not in response.headers.get("Content-Type", ""):
        yield _read(await response.aread())
        return
    async for line in _lines(response):
        data = line.removeprefix(b"data:").strip()
        if data == b"[DONE]":
            return
        if line.startswith(b"data:") and data:
            yield _read(data)


async def _lines(response: httpx.Response) -> AsyncIterator[bytes]:
    """Split at line feeds alone: text may hold other line ends, which httpx would split at."""
    buffer = b""
    async for chunk in response.aiter_bytes():
        *lines, buffer = (buffer + chunk).split(b"\n")
        for line in lines:
            yield line
    yield buffer


def _read(data: bytes) -> dict[str, Any]:
    try:
        event = json.loads(data)
    except ValueError as problem:
        raise EngineError(f"the model's server sent no JSON: {data[:200]!r}") from problem
    if not isinstance(event, dict):
        raise EngineError(f"the model's server sent {data[:200]!r}; expected a JSON object")
    if error := event.get("error"):
        raise EngineError(f"the model's server reported: {str(error)[:500]}")
    return event


def _usage(event: dict[str, Any]) -> Usage | None:
    usage = event.get("usage")
    if not isinstance(usage, dict):
        return None
    return Usage(
        prompt_tokens=usage.get("prompt_tokens") or 0,
        completion_tokens=usage.get("completion_tokens") or 0,
    )
