"""Who samples rollouts: this process, or whatever else takes prompts and gives samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch

from tooln1_agent.engines.local.generate import Sample, generate
from tooln1_agent.messages import Sampling
from trainer.policy import Policy


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
        """Return `n` completions of each prompt, with log-probs under what they come from."""
        ...


class LocalSampler:
    """Samples in this process, a number of rows together."""

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
        model, together = policy.sampler(), max(1, self._rows // n)
        sampled: list[list[Sample]] = []
        for start in range(0, len(prompts), together):
            sampled += generate(
                model,
                prompts[start : start + together],
                n=n,
                sampling=sampling,
                end_ids=policy.codec.end_ids,
                generator=generator,
            )
        return sampled
