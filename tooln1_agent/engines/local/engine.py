"""The embedded engine: a model of a directory, run in this process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from concurrent.futures import Future
from functools import partial
from pathlib import Path

from tooln1_agent.codec import Codec
from tooln1_agent.engines.base import EngineInfo, ModelRequest
from tooln1_agent.engines.local.adapted import AdaptedModel
from tooln1_agent.engines.local.decoder import Sample
from tooln1_agent.engines.local.model import Dtype, base_name, declared_limit, load_base
from tooln1_agent.engines.local.requests import Limits, Request
from tooln1_agent.engines.local.worker import Worker
from tooln1_agent.engines.text_stream import TextStream
from tooln1_agent.errors import (
    AdapterError,
    ConfigError,
    ContextTooLong,
    EngineDown,
    EngineError,
)
from tooln1_agent.messages import Completion, Usage

_TOKENS_KEPT = 65_536
"""Of which keys and values are kept, unless the context limit is more."""


class LocalEngine:
    """Runs a causal language model of the Hugging Face layout. May be used from many loops."""

    def __init__(
        self,
        model_dir: str | Path,
        *,
        context_limit: int | None = None,
        max_batch: int = 32,
        queue_limit: int = 64,
        token_budget: int | None = None,
        prefill_tokens: int = 512,
        threads: int | None = None,
        dtype: Dtype = "float32",
    ) -> None:
        """Read the model's description; the weights are loaded by `start` or the first request.

        Args:
            context_limit: prompt and completion tokens together; by default what the model's
                configuration declares.
            max_batch: requests that are computed together.
            queue_limit: requests that may wait; one more is refused with `EngineBusy`.
            token_budget: tokens whose keys and values are kept, of prompts and for what requests
                may sample; by default 65,536, or the context limit if that is more.
            prefill_tokens: prompt tokens computed between two tokens of those who sample.
            threads: for torch; None leaves its default.

        Raises:
            ModelNotFound: the directory holds no model that this engine can run.
        """
        self._model_dir, self._dtype = Path(model_dir), dtype
        name = base_name(self._model_dir)
        self._codec = Codec.load(self._model_dir)
        self._limit = _context_limit(context_limit, self._model_dir, self._codec)
        self._info = EngineInfo(
            "ids",
            base_model=name,
            tokenizer_hash=self._codec.hash,
            prompt_version=self._codec.prompt_version,
            context_limit=self._limit,
        )
        budget = _token_budget(token_budget, self._limit)
        self._new_worker = partial(
            Worker,
            lambda: AdaptedModel(load_base(self._model_dir, self._dtype)),
            end_ids=self._codec.end_ids,
            limits=Limits(max_batch, queue_limit, budget, prefill_tokens),
            threads=threads,
        )
        self._worker: Worker | None = None
        self._closed = False
        self._lock = threading.Lock()
        self._adapters: set[str] = set()

    @property
    def info(self) -> EngineInfo:
        return self._info

    async def start(self) -> None:
        """Load the weights, if that has not been done.

        Raises:
            ModelNotFound, ConfigError: they cannot be loaded; says why.
        """
        ready = self._started().ready
        if not ready.done() or ready.exception() is not None:
            await _result(ready)

    async def stream(self, request: ModelRequest) -> AsyncGenerator[str | Completion, None]:
        prompt_ids = tuple(self._codec.prompt_ids(request.messages, request.tools))
        self._check_length(request, len(prompt_ids))
        await self.start()
        self._check_adapter(request.adapter)
        worker, ear = self._started(), _Ear(TextStream(self._codec, stop=request.sampling.stop))
        asked = Request(prompt_ids, request.sampling, request.adapter, ear)
        worker.submit(asked)  # nothing is awaited since the check: the adapter is still there
        try:
            while not isinstance(piece := await ear.pieces.get(), Sample):
                if isinstance(piece, EngineError):
                    raise piece
                yield piece
            yield _completion(request, prompt_ids, sample=piece, text=ear.whole)
        finally:
            worker.cancel(asked)

    async def load_adapter(self, version: str, path: Path) -> None:
        """Make an adapter available; raises `AdapterError` if it does not fit this base."""
        await self.start()
        worker = self._started()
        prepared = await asyncio.to_thread(worker.prepare_adapter, version, Path(path))
        await _result(worker.load_adapter(version, Path(path), prepared=prepared))
        self._adapters.add(version)

    async def unload_adapter(self, version: str) -> None:
        """Refuse the adapter from now on; forget it when the requests that have it are done."""
        if version not in self._adapters:
            return
        self._adapters.discard(version)
        await _result(self._started().unload_adapter(version))

    async def aclose(self) -> None:
        """Stop; requests that still run get `EngineDown`."""
        with self._lock:
            worker, self._worker, self._closed = self._worker, None, True
        if worker is not None:
            await asyncio.to_thread(worker.close)

    def _started(self) -> Worker:
        with self._lock:
            if self._closed:
                raise EngineDown("the engine was closed")
            if self._worker is None:
                self._worker = self._new_worker()
            return self._worker

    def _check_length(self, request: ModelRequest, prompt_tokens: int) -> None:
        wanted = request.sampling.max_tokens
        if prompt_tokens + wanted > self._limit:
            raise ContextTooLong(prompt_tokens=prompt_tokens, max_tokens=wanted, limit=self._limit)

    def _check_adapter(self, version: str | None) -> None:
        if version is not None and version not in self._adapters:
            raise AdapterError(
                f"adapter {version!r} is not loaded; loaded: {sorted(self._adapters)}"
            )


def _context_limit(wanted: int | None, model_dir: Path, codec: Codec) -> int:
    """Return how many tokens a request may have; raises ConfigError above what was declared."""
    declared = declared_limit(model_dir, codec)
    if wanted is not None and wanted > declared:
        raise ConfigError(
            f"context_limit {wanted} is above the {declared} tokens that the model in "
            f"{str(model_dir)!r} was made for; lower it"
        )
    return wanted or declared


def _token_budget(wanted: int | None, context_limit: int) -> int:
    """Return how many tokens are kept; raises ConfigError where they are not enough for one
    request."""
    budget = max(_TOKENS_KEPT, context_limit) if wanted is None else wanted
    if budget < context_limit:
        raise ConfigError(
            f"token_budget {budget} cannot hold one request of {context_limit} tokens; raise it, "
            "or lower context_limit"
        )
    return budget


async def _result(future: Future[None]) -> None:
    """Wait for a thread's future; being cancelled does not cancel it."""
    await asyncio.shield(asyncio.wrap_future(future))


class _Ear:
    """Hears of a request in the worker's thread; passes on text in the loop that made it."""

    def __init__(self, text: TextStream) -> None:
        self.pieces: asyncio.Queue[str | Sample | EngineError] = asyncio.Queue()
        self.whole = ""
        """The whole text, once the sample has come."""
        self._text, self._loop = text, asyncio.get_running_loop()

    def on_token(self, token: int) -> bool:
        if piece := self._text.push(token):
            self._say(piece)
        return self._text.stopped

    def on_end(self, sample: Sample) -> None:
        rest, self.whole = self._text.end()
        if rest:
            self._say(rest)
        self._say(sample)

    def on_error(self, error: EngineError) -> None:
        self._say(error)

    def _say(self, piece: str | Sample | EngineError) -> None:
        """Pass on; where nobody listens any more (the loop is closed) the call raises."""
        self._loop.call_soon_threadsafe(self.pieces.put_nowait, piece)


def _completion(
    request: ModelRequest, prompt_ids: tuple[int, ...], *, sample: Sample, text: str
) -> Completion:
    return Completion(
        text=text,
        finish_reason=sample.finish_reason,
        adapter=request.adapter,
        prompt_ids=prompt_ids,
        completion_ids=sample.ids,
        logprobs=sample.logprobs,
        sampling_logprobs=sample.sampling_logprobs,
        sampling=request.sampling,
        usage=Usage(prompt_tokens=len(prompt_ids), completion_tokens=len(sample.ids)),
    )
