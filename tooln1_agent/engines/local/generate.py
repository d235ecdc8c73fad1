"""Sampling from a causal language model in one call: what the trainer does all day.

Each distinct prompt is computed once, and what prompts begin with alike is computed once as well.
What a row samples depends on its prompt, its settings and its own random numbers, and on nothing
that runs beside it but for the last bits of sums.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import Any

import torch

from tooln1_agent.engines.local.decoder import Decoder, Row
from tooln1_agent.engines.local.decoder import Sample as Sample
from tooln1_agent.messages import Sampling

_PIECE = 1024
"""Prompt tokens in one forward; it bounds the memory of activations."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One completion to be sampled."""

    prompt_ids: Sequence[int]
    sampling: Sampling
    """Its `seed`, if it has one, draws for this row alone; its `stop` is not read."""


def generate(
    model: Any,
    prompts: Sequence[Sequence[int]],
    *,
    n: int,
    sampling: Sampling,
    end_ids: Collection[int],
    generator: torch.Generator,
) -> list[list[Sample]]:
    """Sample `n` completions of each prompt; returns them by prompt.

    A seed in `sampling` is not read: each row draws from numbers of its own, seeded by `generator`.
    """
    shared = sampling.model_copy(update={"seed": None})
    wanted = [Wanted(prompt, shared) for prompt in prompts for _ in range(n)]
    samples = sample_rows(model, wanted, end_ids=end_ids, generator=generator)
    return [samples[start : start + n] for start in range(0, len(samples), n)]


def sample_rows(
    model: Any,
    wanted: Sequence[Wanted],
    *,
    end_ids: Collection[int],
    generator: torch.Generator | None = None,
) -> list[Sample]:
    """Sample one completion for each entry, each by its own settings.

    Args:
        generator: gives each row, in order, the seed of its random numbers; rows with a seed of
            their own take that one. Not needed where all have one.
    """
    own = [each.sampling.seed for each in wanted]
    if generator is None and None in own:
        raise ValueError("a row without a seed of its own needs a generator")
    drawn = own if generator is None else row_seeds(len(wanted), generator)
    rows = []
    by_prompt: dict[tuple[int, ...], list[Row]] = {}
    for each, seed, spare in zip(wanted, own, drawn, strict=True):
        rows.append(Row(each.sampling, Random(spare if seed is None else seed)))
        by_prompt.setdefault(tuple(each.prompt_ids), []).append(rows[-1])
    decoder = Decoder(model.config)
    with _sampling_mode(model):
        for prompt, together in by_prompt.items():
            prefill = decoder.begin(prompt)
            while prefill.logits is None:
                prefill.advance(model, _PIECE)
            decoder.join(prefill, together)
        _drop_ended(decoder, end_ids)
        while decoder.rows:
            decoder.step(model)
            _drop_ended(decoder, end_ids)
    return [row.sample("stop" if row.ids[-1] in end_ids else "length") for row in rows]


def row_seeds(count: int, generator: torch.Generator) -> list[int]:
    """Draw a seed of 63 bits for each of so many rows."""
    numbers = torch.randint(2**63 - 1, (count,), generator=generator, device=generator.device)
    drawn: list[int] = numbers.tolist()
    return drawn


def _drop_ended(decoder: Decoder, end_ids: Collection[int]) -> None:
    for row in [row for row in decoder.rows if row.has_ended(end_ids)]:
        decoder.leave(row)


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
