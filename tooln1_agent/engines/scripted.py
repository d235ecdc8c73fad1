"""An engine that says what it was told to say: for tests, demos and dry runs. No model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from pathlib import Path

from tooln1_agent.engines.base import EngineInfo, ModelRequest
from tooln1_agent.errors import ContextTooLong, EngineError
from tooln1_agent.messages import Completion, FinishReason, Sampling, Usage
from tooln1_agent.prompt import text_of
from tooln1_agent.renderers.tooln1 import TOOLN1

CHARS_PER_TOKEN = 4
"""A scripted "token" is four characters, in usage, in `max_tokens` and in the context limit."""


class ScriptedEngine:
    """Replies from a list, one per call and in order, or from a function of the request."""

    def __init__(
        self,
        replies: Iterable[str] | Callable[[ModelRequest], str],
        *,
        chunk_chars: int = 8,
        base_model: str = "scripted",
        context_limit: int | None = None,
    ) -> None:
        """Take the script; texts are streamed in pieces of `chunk_chars`."""
        if isinstance(replies, str):
            raise TypeError("replies must be a list of texts or a function, not one text")
        if chunk_chars < 1:
            raise ValueError(f"chunk_chars must be at least 1, got {chunk_chars}")
        self._reply_to = replies if callable(replies) else _in_order(tuple(replies))
        self._chunk_chars = chunk_chars
        self._info = EngineInfo(
            capability="text",
            base_model=base_model,
            prompt_version=TOOLN1.version,
            context_limit=context_limit,
        )
        self.requests: list[ModelRequest] = []
        """Every request that was admitted, in order."""
        self.adapters: dict[str, Path] = {}
        """The adapters that are loaded. They change nothing in what is said."""

    @property
    def info(self) -> EngineInfo:
        return self._info

    async def stream(self, request: ModelRequest) -> AsyncGenerator[str | Completion, None]:
        prompt_tokens = _tokens(text_of(TOOLN1.render(request.messages, request.tools)))
        limit, wanted = self._info.context_limit, request.sampling.max_tokens
        if limit is not None and prompt_tokens + wanted > limit:
            raise ContextTooLong(prompt_tokens=prompt_tokens, max_tokens=wanted, limit=limit)
        self.requests.append(request)
        text, finish_reason = _cut(self._reply_to(request), request.sampling)
        for start in range(0, len(text), self._chunk_chars):
            await asyncio.sleep(0)
            yield text[start : start + self._chunk_chars]
        yield Completion(
            text=text,
            finish_reason=finish_reason,
            adapter=request.adapter,
            sampling=request.sampling,
            usage=Usage(prompt_tokens=prompt_tokens, completion_tokens=_tokens(text)),
        )

    async def load_adapter(self, version: str, path: Path) -> None:
        self.adapters[version] = path

    async def unload_adapter(self, version: str) -> None:
        self.adapters.pop(version, None)

    async def start(self) -> None:
        """Nothing to get ready."""

    async def aclose(self) -> None:
        """Nothing to close."""


def _in_order(replies: tuple[str, ...]) -> Callable[[ModelRequest], str]:
    left = iter(replies)

    def next_reply(_: ModelRequest) -> str:
        reply = next(left, None)
        if reply is None:
            raise EngineError(
                f"the script has {len(replies)} replies and all of them were used; add one, "
                "or pass a function of the request"
            )
        return reply

    return next_reply


def _cut(text: str, sampling: Sampling) -> tuple[str, FinishReason]:
    """Apply stop strings and the token limit, as a model's engine would."""
    found = [place for stop in sampling.stop if (place := text.find(stop)) >= 0]
    if found:
        text = text[: min(found)]
    if _tokens(text) > sampling.max_tokens:
        return text[: sampling.max_tokens * CHARS_PER_TOKEN], "length"
    return text, "stop"


def _tokens(text: str) -> int:
    return -(-len(text) // CHARS_PER_TOKEN)
