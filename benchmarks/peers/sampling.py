"""Other ways to sample from a model directory: what the embedded engine is compared with.

Each side takes the same prompts and samples as many tokens as are asked for, at temperature 1 from
the whole vocabulary; closing tokens are ignored. Their settings stand here in full.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import torch
from transformers import (
    ContinuousBatchingConfig,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
)

from tooln1_agent.engines.local.model import base_name
from tooln1_agent.engines.vllm.launch import child

_PAD = 0
_PAGE = 256


class Work(NamedTuple):
    """Requests that come at the same time."""

    prompts: list[list[int]]
    tokens: list[int]
    """For each prompt, how many tokens each of its samples has."""
    group: int = 1
    """Samples of each prompt."""

    @property
    def sampled(self) -> int:
        """Tokens sampled in all."""
        return self.group * sum(self.tokens)


class Run(NamedTuple):
    """What a side took for a work."""

    seconds: float
    first_s: list[float]
    """For each prompt, seconds until its first token."""
    processor_s: float | None = None
    """Of this process; None where another one computed."""


Side = Callable[[Work], Run]


class PaddedGenerate:
    """transformers' `generate` on one batch, padded on the left to the longest prompt."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def __call__(self, work: Work) -> Run:
        longest = max(map(len, work.prompts))
        gaps = [longest - len(prompt) for prompt in work.prompts]
        padded = [[_PAD] * gap + p for gap, p in zip(gaps, work.prompts, strict=True)]
        mask = [[0] * gap + [1] * (longest - gap) for gap in gaps]
        stamp = _Stamp()
        began = time.perf_counter()
        with torch.inference_mode():
            made = self._model.generate(
                input_ids=torch.tensor(padded),
                attention_mask=torch.tensor(mask),
                logits_processor=LogitsProcessorList([stamp]),
                generation_config=_settings(max(work.tokens), num_return_sequences=work.group),
            )
        seconds = time.perf_counter() - began
        assert made.shape == (len(padded) * work.group, longest + max(work.tokens))
        return Run(seconds, [stamp.first - began] * len(padded))


class _Stamp(LogitsProcessor):
    """Notes when the first logits come."""

    first = 0.0

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        self.first = self.first or time.perf_counter()
        return scores


class ContinuousBatching:
    """transformers' continuous batching; its manager is made and warmed outside of the clock."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def __call__(self, work: Work) -> Run:
        asked = list(zip(work.prompts, work.tokens, strict=True)) * work.group
        pages = sum(-(-(len(prompt) + tokens) // _PAGE) for prompt, tokens in asked)
        room = ContinuousBatchingConfig(  # by default it takes what memory there is, for minutes
            page_size=_PAGE, num_blocks=pages + 16, max_batch_tokens=256, use_async_batching=False
        )
        with self._model.continuous_batching_context_manager(
            _settings(max(work.tokens)),
            continuous_batching_config=room,
            timeout=5,
        ) as manager:
            began = time.perf_counter()
            for prompt, tokens in asked:
                manager.add_request(prompt, max_new_tokens=tokens, record_timestamps=True)
            done: list[Any] = []
            while len(done) < len(asked):
                if not manager.is_running():
                    raise SystemExit("transformers' continuous batching ended before its requests")
                result = manager.get_result(timeout=1)
                if result is not None and result.is_finished():
                    done.append(result)
            seconds = time.perf_counter() - began
        if sum(len(result.generated_tokens) for result in done) != work.sampled:
            raise SystemExit(f"continuous batching failed: {[r.error for r in done if r.error]}")
        return Run(seconds, [result.timestamps[0] - began for result in done])


class Vllm:
    """A vLLM server of its own, asked over HTTP."""

    def __init__(self, directory: Path, *, python: Path, dtype: str, log_file: Path) -> None:
        """Start it; the number of its threads is OMP_NUM_THREADS."""
        self._name = base_name(directory)
        flags = ("--dtype", dtype)
        self._server = child(directory, python=python, arguments=flags, log_file=log_file)
        self._loop = asyncio.new_event_loop()
        self._loop.run_until_complete(self._server.start())
        headers = {"Authorization": f"Bearer {self._server.api_key}"}
        self._client = httpx.AsyncClient(
            base_url=self._server.root, headers=headers, timeout=600, limits=httpx.Limits()
        )

    def close(self) -> None:
        """Stop the server."""
        self._loop.run_until_complete(self._client.aclose())
        self._loop.run_until_complete(self._server.aclose())
        self._loop.close()

    def __call__(self, work: Work) -> Run:
        return self._loop.run_until_complete(self._run(work))

    async def _run(self, work: Work) -> Run:
        began = time.perf_counter()
        asked = zip(work.prompts, work.tokens, strict=True)
        first = await asyncio.gather(*(self._one(p, t, n=work.group) for p, t in asked))
        return Run(time.perf_counter() - began, [at - began for at in first])

    async def _one(self, prompt: list[int], tokens: int, *, n: int) -> float:
        """Ask for samples of a prompt; return when their first token came."""
        body = {
            "model": self._name,
            "prompt": prompt,
            "max_tokens": tokens,
            "n": n,
            "temperature": 1.0,
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        first, counted = 0.0, 0
        async with self._client.stream("POST", "/v1/completions", json=body) as response:
            if response.is_error:
                raise SystemExit(f"vLLM: {(await response.aread()).decode()}")
            async for line in response.aiter_lines():
                if not line.startswith("data: {"):
                    continue
                first = first or time.perf_counter()
                event = json.loads(line.removeprefix("data: "))
                counted = (event.get("usage") or {}).get("completion_tokens", counted)
        if counted != tokens * n:
            raise SystemExit(f"vLLM sampled {counted} tokens, not {tokens * n}")
        return first


def _settings(max_new_tokens: int, **more: Any) -> GenerationConfig:
    return GenerationConfig(
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        max_new_tokens=max_new_tokens,
        eos_token_id=None,
        pad_token_id=_PAD,
        **more,
    )
