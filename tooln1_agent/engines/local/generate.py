"""Sampling from a causal language model: the core that the engine and the trainer share.

Each distinct prompt is computed once and its cache is expanded to the rows that sample from it.
Prompts are padded on the left; a row that has finished leaves the batch. The log-probs of the
sampled tokens come out of the same pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from tooln1_agent.engines.local.decoding import prefill
from tooln1_agent.engines.local.drawing import DrawSettings, draw
from tooln1_agent.messages import Sampling

OnToken = Callable[[int, int], None]
"""Told (row, token id) for each token as it is sampled, the closing token included."""
StopRow = Callable[[int], bool]
"""Asked for a row after each of its tokens whether it is to end there."""
OnEnd = Callable[[int, "Sample"], None]
"""Told (row, sample) as soon as a row has ended."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What one row sampled."""

    ids: tuple[int, ...]
    """With the closing token, unless the row ended otherwise."""
    logprobs: tuple[float, ...]
    """For each id, in nats, under the plain model (temperature 1, no nucleus)."""
    finish_reason: Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Row:
    """One completion to be sampled."""

    prompt_ids: Sequence[int]
    sampling: Sampling
    """Its `seed`, if it has one, draws for this row alone; its `stop` is the caller's business."""


def generate(
    model: Any,
    prompts: Sequence[Sequence[int]],
    *,
    n: int,
    sampling: Sampling,
    end_id: int,
    pad_id: int,
    generator: torch.Generator,
    on_token: OnToken | None = None,
    stop: StopRow | None = None,
) -> list[list[Sample]]:
    """Sample `n` completions of each prompt; returns them by prompt.

    `on_token` and `stop` know a completion by its row: prompt index times `n` plus its place.
    All rows draw from `generator`; a seed in `sampling` is not read.
    """
    shared = sampling.model_copy(update={"seed": None})
    rows = [Row(prompt, shared) for prompt in prompts for _ in range(n)]
    samples = sample_rows(
        model,
        rows,
        end_id=end_id,
        pad_id=pad_id,
        generator=generator,
        on_token=on_token,
        stop=stop,
    )
    return [samples[start : start + n] for start in range(0, len(samples), n)]


def sample_rows(
    model: Any,
    rows: Sequence[Row],
    *,
    end_id: int,
    pad_id: int,
    generator: torch.Generator,
    on_token: OnToken | None = None,
    stop: StopRow | None = None,
    on_end: OnEnd | None = None,
) -> list[Sample]:
    """Sample one completion for each row, each by its own settings."""
    if not rows:
        return []
    with _sampling_mode(model):
        batch, logits = prefill(model, [row.prompt_ids for row in rows], pad_id=pad_id)
        settings = _settings(rows, logits.device)
        drafts = [_Draft() for _ in rows]
        while True:
            tokens = draw(logits, settings, generator)  # (B,)
            logprobs = logits.log_softmax(-1).gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
            kept = []
            for place, (row, token, logprob) in enumerate(
                zip(batch.rows, tokens.tolist(), logprobs.tolist(), strict=True)
            ):
                draft = drafts[row]
                draft.ids.append(token)
                draft.logprobs.append(logprob)
                if on_token is not None:
                    on_token(row, token)
                if token == end_id or (stop is not None and stop(row)):
                    draft.finish_reason = "stop"
                elif len(draft.ids) < rows[row].sampling.max_tokens:
                    kept.append(place)
                    continue
                if on_end is not None:
                    on_end(row, draft.sample())
            if not kept:
                return [draft.sample() for draft in drafts]
            if len(kept) < len(batch.rows):
                batch.keep(kept)
                settings, tokens = settings.select(kept), tokens[kept]
            logits = batch.step(model, tokens)


@dataclass(slots=True)
class _Draft:
    """A sample while it grows."""

    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish_reason: Literal["stop", "length"] = "length"

    def sample(self) -> Sample:
        return Sample(tuple(self.ids), tuple(self.logprobs), self.finish_reason)


def _settings(rows: Sequence[Row], device: torch.device) -> DrawSettings:
    def own(seed: int | None) -> torch.Generator | None:
        return None if seed is None else torch.Generator(device).manual_seed(seed)

    return DrawSettings(
        temperature=torch.tensor([row.sampling.temperature for row in rows], device=device),
        top_p=torch.tensor([row.sampling.top_p for row in rows], device=device),
        own=tuple(own(row.sampling.seed) for row in rows),
    )


@contextmanager
def _sampling_mode(model: Any) -> Iterator[None]:
    """Switch gradients, dropout and gradient checkpointing (which drops the cache) off."""
    was_training = model.training
    if was_training:
        model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        if was_training:
            model.train()
