"""An engine behind HTTP: any server that speaks OpenAI's chat completions.

The tools are written into our system text and the reply is read as text by our own parser; the
server's `tools` field and tool parsers stay out of it.
"""

from __future__ import annotations

import codecs
from collections.abc import AsyncGenerator
from contextlib import suppress
from pathlib import Path
from typing import Any

from tooln1_agent.engines.base import EngineInfo, ModelRequest
from tooln1_agent.engines.chat_format import PROMPT_VERSION, chat_messages
from tooln1_agent.engines.wire import Wire, events, usage_of
from tooln1_agent.errors import AdapterError, ConfigError, EngineDown, EngineRefused
from tooln1_agent.messages import Completion, Usage


class HttpEngine:
    """Asks one model of a chat server. May be used from several event loops in turn."""

    def __init__(
        self, base_url: str, model: str, *, context_limit: int | None = None, **options: Any
    ) -> None:
        """Describe the server; nothing is sent yet.

        Args:
            base_url: up to and including the version, e.g. "http://localhost:8000/v1".
            context_limit: recorded, and left to the server to enforce.
            options: of the connection, see `Wire`.

        Raises:
            ConfigError: the model is not named.
        """
        if not model:
            raise ConfigError(
                f"which model of {base_url!r}? Name it after a '#': {base_url}#MODEL-NAME"
            )
        self._wire = Wire(base_url, **options)
        self._info = EngineInfo(
            "chat", base_model=model, prompt_version=PROMPT_VERSION, context_limit=context_limit
        )

    @property
    def info(self) -> EngineInfo:
        return self._info

    async def stream(self, request: ModelRequest) -> AsyncGenerator[str | Completion, None]:
        if request.adapter is not None:
            raise self._no_adapters(request.adapter)
        texts: list[str] = []
        joiner = codecs.getincrementaldecoder("utf-16-le")("replace")
        finish_reason: str | None = None
        usage = Usage()
        body = _body(request, self._info.base_model)
        async with self._wire.post("/chat/completions", body) as response:
            async for event in events(response):
                usage = usage_of(event) or usage
                for choice in event.get("choices") or ():
                    finish_reason = choice.get("finish_reason") or finish_reason
                    said = choice.get("delta") or choice.get("message") or {}
                    # JSON may hold half a character: its other half comes next, or it is no text.
                    halves = (said.get("content") or "").encode("utf-16-le", "surrogatepass")
                    if text := joiner.decode(halves, final=bool(choice.get("finish_reason"))):
                        texts.append(text)
                        yield text
        if finish_reason is None:
            raise EngineDown(f"{self._wire.root} ended its reply in the middle; try again")
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

    async def check(self) -> None:
        """Raise EngineDown or EngineBusy unless the server answers."""
        with suppress(EngineRefused):  # it need not list its models
            await self._wire.get_json("/models")

    async def aclose(self) -> None:
        await self._wire.aclose()

    def _no_adapters(self, version: str) -> AdapterError:
        return AdapterError(
            f"adapter {version!r} cannot be served through the chat server at {self._wire.root}; "
            "use a model directory (the local engine or vLLM), or serve the base model alone"
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
    if sampling.top_k is not None:
        body["top_k"] = sampling.top_k
    if sampling.seed is not None:
        body["seed"] = sampling.seed
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    return body
