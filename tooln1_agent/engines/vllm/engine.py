"""An engine that runs its model on a vLLM server, whoever started that.

We render the prompt to token ids and parse the text of the ids that come back, so vLLM's
tokenizer, chat template and parsers have no say. Adapters are loaded under their version, which
holds the hash of their content: vLLM caches computed prompts by an adapter's name and path, and
would go on with those of the old weights if either were used again for others.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import httpx

from tooln1_agent.adapter_files import check_content
from tooln1_agent.codec import Codec
from tooln1_agent.engines.base import EngineInfo, ModelRequest
from tooln1_agent.engines.local.model import base_name, declared_limit
from tooln1_agent.engines.text_stream import TextStream
from tooln1_agent.engines.vllm.api import Sampled, completion_body
from tooln1_agent.engines.vllm.checks import check_adapter, check_server
from tooln1_agent.engines.vllm.client import Client
from tooln1_agent.engines.wire import Wire, events
from tooln1_agent.errors import (
    AdapterError,
    ContextTooLong,
    EngineDown,
    EngineError,
    EngineRefused,
)
from tooln1_agent.messages import Completion, Sampling, Usage

log = logging.getLogger("tooln1_agent.engines.vllm")

_NOT_FOUND = 404


class Server(Protocol):
    """Where a vLLM is reached, and who sees to it that it runs."""

    @property
    def root(self) -> str:
        """Its address, without "/v1"."""
        ...

    @property
    def api_key(self) -> str | None: ...

    def check(self) -> None:
        """Raise EngineDown while it is known that nobody answers there."""
        ...

    async def start(self) -> None:
        """Return when it answers; doing it again does nothing."""
        ...

    async def aclose(self) -> None: ...


class VllmEngine:
    """Serves a model directory, and adapters of it, through one vLLM server."""

    def __init__(
        self,
        model_dir: str | Path,
        server: Server,
        *,
        context_limit: int | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Read the model's description; nothing is started or sent yet.

        Args:
            model_dir: the directory that vLLM serves, for its tokenizer and its name.
            context_limit: prompt and completion tokens together; never more than what the model
                and the server declare.
            transport: in place of the network, for tests.

        Raises:
            ModelNotFound: the directory holds no model.
        """
        path = self._directory = Path(model_dir)
        self._codec = Codec.load(path)
        declared = declared_limit(path, self._codec)
        self._limit = min(context_limit or declared, declared)
        self._info = EngineInfo(
            "ids", base_name(path), self._codec.hash, self._codec.prompt_version, self._limit
        )
        self._server = server
        wire = Wire(server.root, api_key=server.api_key, transport=transport)
        self._client = Client(wire)
        self._base = ""
        self._adapters: dict[str, Path] = {}
        self._starting = asyncio.Lock()

    @property
    def info(self) -> EngineInfo:
        return self._info

    async def start(self) -> None:
        """Wait until vLLM answers, and check that it is fit to be learned from.

        Raises:
            EngineDown: it cannot be reached, or does not start; says why.
            ConfigError: it is no vLLM, serves another model than that of the directory, or its
                log-probs are not those of the plain model.
        """
        async with self._starting:
            if not self._base:
                await self._meet()

    async def check(self) -> None:
        """Start afresh with a server that was away; it is given the adapters that it has lost.

        Raises:
            EngineDown, ConfigError: as `start` does.
            AdapterError: it does not take an adapter any more.
        """
        async with self._starting:
            await self._meet()
        for version, place in tuple(self._adapters.items()):
            await self._client.load(version, place)

    async def stream(self, request: ModelRequest) -> AsyncGenerator[str | Completion, None]:
        await self.start()
        prompt_ids = tuple(self._codec.prompt_ids(request.messages, request.tools))
        self._check_length(request, len(prompt_ids))
        text = TextStream(self._codec, stop=request.sampling.stop)
        sampled = Sampled(model=request.adapter or self._base)
        body = self._body(prompt_ids, request.sampling, adapter=request.adapter)
        async with self._answer(body, request.adapter) as response:
            async for event in events(response):
                known = len(sampled.ids)
                for count, token in enumerate(sampled.add(event), known + 1):
                    if piece := text.push(token):
                        yield piece
                    if text.stopped:
                        sampled.cut(count)
                        break
                if text.stopped:
                    break
        rest, whole = text.end()
        if rest:
            yield rest
        yield _completion(sampled, whole, prompt_ids, request.sampling, adapter=request.adapter)

    async def sample(
        self, prompt_ids: Sequence[int], *, n: int, sampling: Sampling, adapter: str | None
    ) -> list[Completion]:
        """Return `n` completions of a prompt in token ids; what `stop` says is not read.

        Raises:
            EngineBusy, EngineDown: as `stream` does.
        """
        await self.start()
        body = {**self._body(prompt_ids, sampling, adapter=adapter), "n": n}
        each = [Sampled(model=body["model"]) for _ in range(n)]
        async with self._answer(body, adapter) as response:
            async for event in events(response):
                for choice in event.get("choices") or ():
                    each[choice["index"]].add({**event, "choices": [choice]})
        return [
            _completion(
                sampled,
                self._codec.decode(sampled.ids),
                tuple(prompt_ids),
                sampling,
                adapter=adapter,
            )
            for sampled in each
        ]

    async def load_adapter(self, version: str, path: Path) -> None:
        """Make an adapter available under its version.

        The directory must lie at the same path where vLLM runs.

        Raises:
            AdapterError: the files are not those that the version names, vLLM cannot serve them,
                or computes something else with them than their trainer did.
        """
        await self.start()
        if version in self._adapters:
            return
        place = await asyncio.to_thread(_checked, version, path)
        await self._client.load(version, place)
        try:
            await check_adapter(self._client, version, place, base=self._base)
        except BaseException:
            await self._client.unload(version)
            raise
        self._adapters[version] = place

    async def unload_adapter(self, version: str) -> None:
        if self._adapters.pop(version, None) is not None:
            await self._client.unload(version)

    async def aclose(self) -> None:
        await self._client.aclose()
        await self._server.aclose()

    async def _meet(self) -> None:
        """Wait for the server, check what it serves and note what that is called."""
        await self._server.start()
        served = await self._client.served()
        await check_server(self._client, self._directory, self._codec, base=served.name)
        self._limit = min(self._limit, served.context_limit)
        self._info = replace(self._info, context_limit=self._limit)
        self._base = served.name

    def _body(
        self, prompt_ids: Sequence[int], sampling: Sampling, *, adapter: str | None
    ) -> dict[str, Any]:
        model = adapter or self._base
        return completion_body(prompt_ids, sampling, model=model, end_ids=self._codec.end_ids)

    @asynccontextmanager
    async def _answer(
        self, body: Mapping[str, Any], adapter: str | None
    ) -> AsyncIterator[httpx.Response]:
        """Open the answer; a server that was restarted is given the adapter once more."""
        path = None if adapter is None else self._path_of(adapter)
        self._server.check()
        async with AsyncExitStack() as stack:
            try:
                response = await stack.enter_async_context(self._client.completion(body))
            except EngineRefused as error:
                if adapter is None or path is None or error.status != _NOT_FOUND:
                    raise
                log.info("vLLM has forgotten adapter %s; it is loaded again", adapter)
                await self._client.load(adapter, path)
                response = await stack.enter_async_context(self._client.completion(body))
            yield response

    def _path_of(self, version: str) -> Path:
        path = self._adapters.get(version)
        if path is None:
            raise AdapterError(
                f"adapter {version!r} is not loaded; loaded: {sorted(self._adapters)}"
            )
        return path

    def _check_length(self, request: ModelRequest, prompt_tokens: int) -> None:
        wanted = request.sampling.max_tokens
        if prompt_tokens + wanted > self._limit:
            raise ContextTooLong(prompt_tokens=prompt_tokens, max_tokens=wanted, limit=self._limit)


def _checked(version: str, path: Path) -> Path:
    """Return where an adapter lies, having checked that its version says what is in it."""
    place = path.resolve()
    if place.name != version:
        raise AdapterError(
            f"adapter {version!r} lies in {str(place)!r}; vLLM may only load it from a directory "
            "of its own name, since it caches by name and path"
        )
    check_content(place)
    return place


def _completion(
    sampled: Sampled,
    text: str,
    prompt_ids: tuple[int, ...],
    sampling: Sampling,
    *,
    adapter: str | None,
) -> Completion:
    if sampled.finish_reason is None:
        raise EngineDown("vLLM ended its reply in the middle; try again")
    if sampled.prompt_ids != prompt_ids:
        raise EngineError("vLLM answered another prompt than the one it was sent")
    return Completion(
        text=text,
        finish_reason="length" if sampled.finish_reason == "length" else "stop",
        adapter=adapter,
        prompt_ids=sampled.prompt_ids,
        completion_ids=tuple(sampled.ids),
        logprobs=tuple(sampled.logprobs),
        sampling=sampling,
        usage=Usage(prompt_tokens=len(prompt_ids), completion_tokens=len(sampled.ids)),
    )
