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
from tooln1_agent.engines.local.model import Dtype, base_name, declared_limit, load_base
from tooln1_agent.engines.local.worker import Ended, Job, Worker
from tooln1_agent.engines.text_stream import TextStream
from tooln1_agent.errors import AdapterError, ConfigError, ContextTooLong, EngineDown
from tooln1_agent.messages import Completion, Usage


class LocalEngine:
    """Runs a causal language model of the Hugging Face layout. May be used from many loops."""

    def __init__(
        self,
        model_dir: str | Path,
        *,
        context_limit: int | None = None,
        max_batch: int = 16,
        queue_limit: int = 64,
        threads: int | None = None,
        dtype: Dtype = "float32",
    ) -> None:
        """Read the model's description; the weights are loaded by `start` or the first request.

        Args:
            context_limit: prompt and completion tokens together; by default what the model's
                configuration declares.
            max_batch: requests that are computed together.
            queue_limit: requests that may wait; one more is refused with `EngineBusy`.
            threads: for torch; None leaves its default.

        Raises:
            ModelNotFound: the directory holds no model that this engine can run.
        """
        if max_batch < 1 or queue_limit < 1:
            raise ConfigError(
                f"max_batch and queue_limit must be at least 1, got {max_batch}, {queue_limit}"
            )
        self._model_dir, self._dtype = Path(model_dir), dtype
        name = base_name(self._model_dir)
        self._codec = Codec.load(self._model_dir)
        declared = declared_limit(self._model_dir, self._codec)
        if context_limit is not None and context_limit > declared:
            raise ConfigError(
                f"context_limit {context_limit} is above the {declared} tokens that the model in "
                f"{str(model_dir)!r} was made for; lower it"
            )
        self._limit = context_limit or declared
        self._info = EngineInfo(
            "ids",
            base_model=name,
            tokenizer_hash=self._codec.hash,
            prompt_version=self._codec.prompt_version,
            context_limit=self._limit,
        )
        self._new_worker = partial(
            Worker,
            lambda: AdaptedModel(load_base(self._model_dir, self._dtype)),
            end_id=self._codec.end_id,
            max_batch=max_batch,
            queue_limit=queue_limit,
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
        loop = asyncio.get_running_loop()
        pieces: asyncio.Queue[str | Ended | EngineDown] = asyncio.Queue()

        def deliver(piece: str | Ended | EngineDown) -> None:
            try:
                loop.call_soon_threadsafe(pieces.put_nowait, piece)
            except RuntimeError:  # the loop is closed: nobody listens any more
                job.cancelled = True

        text = TextStream(self._codec, stop=request.sampling.stop)
        job = Job(prompt_ids, request.sampling, request.adapter, text, deliver)
        self._check_adapter(request.adapter)
        worker = self._started()
        worker.submit(job)  # nothing is awaited since the check: the adapter is still there
        try:
            while not isinstance(piece := await pieces.get(), Ended):
                if isinstance(piece, EngineDown):
                    raise piece
                yield piece
            yield _completion(request, prompt_ids, piece)
        finally:
            worker.cancel(job)

    async def load_adapter(self, version: str, path: Path) -> None:
        """Make an adapter available; raises `AdapterError` if it does not fit this base."""
        await self.start()
        await _result(self._started().errand(lambda model: model.load(version, Path(path))))
        self._adapters.add(version)

    async def unload_adapter(self, version: str) -> None:
        """Refuse the adapter from now on; forget it when the requests that have it are done."""
        if version not in self._adapters:
            return
        self._adapters.discard(version)
        done = self._started().errand(lambda model: model.unload(version), after_jobs_of=version)
        await _result(done)

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


async def _result(future: Future[None]) -> None:
    """Wait for a thread's future; being cancelled does not cancel it."""
    await asyncio.shield(asyncio.wrap_future(future))


def _completion(request: ModelRequest, prompt_ids: tuple[int, ...], ended: Ended) -> Completion:
    sample = ended.sample
    return Completion(
        text=ended.text,
        finish_reason=sample.finish_reason,
        adapter=request.adapter,
        prompt_ids=prompt_ids,
        completion_ids=sample.ids,
        logprobs=sample.logprobs,
        sampling=request.sampling,
        usage=Usage(prompt_tokens=len(prompt_ids), completion_tokens=len(sample.ids)),
    )
