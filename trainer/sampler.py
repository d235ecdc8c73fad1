"""Who samples rollouts: the processes that train, or whatever else turns prompts into samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

import torch

from tooln1_agent.engines.local.generate import Sample, Wanted, row_seeds, sample_rows
from tooln1_agent.messages import Sampling
from trainer.distributed import divided
from trainer.policy import Policy

T = TypeVar("T")


class Sampler(Protocol):
    """Samples from the policy of the moment, or from one not much older."""

    def sample(
        self,
        policy: Policy,
        prompts: Sequence[Sequence[int]],
        *,
        n: int,
        sampling: Sampling,
        generator: torch.Generator,
    ) -> list[list[Sample]]:
        """Return `n` completions of each prompt, with log-probs under what they come from.

        Every process of a training asks for the same and gets the same.
        """
        ...


class LocalSampler:
    """Samples in the processes that train, a part of the prompts in each, many rows together.

    What a prompt's rows sample does not depend on which process, or what batch, they are in.
    """

    def __init__(self, *, rows_per_batch: int = 128) -> None:
        self._rows = rows_per_batch

    def sample(
        self,
        policy: Policy,
        prompts: Sequence[Sequence[int]],
        *,
        n: int,
        sampling: Sampling,
        generator: torch.Generator,
    ) -> list[list[Sample]]:
        seeds = _cut(row_seeds(len(prompts) * n, generator), n)
        rows = [
            [Wanted(ids, sampling.model_copy(update={"seed": seed})) for seed in own]
            for ids, own in zip(prompts, seeds, strict=True)
        ]
        return divided(rows, lambda mine: self._sample(policy, mine, n=n))

    def _sample(
        self, policy: Policy, groups: Sequence[Sequence[Wanted]], *, n: int
    ) -> list[list[Sample]]:
        model, together = policy.sampler(), max(1, self._rows // n)
        sampled: list[Sample] = []
        for batch in _cut(groups, together):
            rows = [row for group in batch for row in group]
            sampled += sample_rows(model, rows, end_ids=policy.codec.end_ids)
        return _cut(sampled, n)


def _cut(items: Sequence[T], size: int) -> list[list[T]]:
    """Return the items in lists of so many."""
    return [list(items[start : start + size]) for start in range(0, len(items), size)]
