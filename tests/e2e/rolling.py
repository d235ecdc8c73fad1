"""A small step of training through a sampler: examples, a reward, and who is on policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import torch

from tests.e2e.vllm_models import furthest
from tooln1_agent.engines.local.generate import Sample
from tooln1_agent.examples import Example
from tooln1_agent.messages import Message
from tooln1_agent.reward import Reward
from tooln1_agent.targets import NoCall
from trainer.config import GrpoConfig
from trainer.policy import Policy
from trainer.rollout import Group, sample_groups
from trainer.sampler import Sampler

FIGURES_AGREE = 5e-3
"""Nats; vLLM and trainer compute in float32, in another order."""
CONFIG = GrpoConfig(group_size=4, max_tokens=24, lora_rank=8, learning_rate=0.02, beta=0.0)
EXAMPLES = [
    Example(
        id=f"example-{number}",
        messages=(Message(role="user", content=f"Lamp {number}, please."),),
        tools=(),
        target=NoCall(),
        split="train",
        source="dataset",
        created_at=datetime(2026, 3, 1, tzinfo=UTC),
    )
    for number in range(4)
]


class Ended:
    """Lets a model that never comes to an end be paid for a reply that was cut."""

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler

    def sample(self, *args: Any, **options: Any) -> list[list[Sample]]:
        sampled = self._sampler.sample(*args, **options)
        return [[replace(sample, finish_reason="stop") for sample in group] for group in sampled]


def by_chance(text: str, **_: object) -> Reward:
    """Pay half of all texts."""
    return Reward(float(sum(map(ord, text)) % 2), "")


def sampled(policy: Policy, sampler: Sampler, config: GrpoConfig = CONFIG) -> list[Group]:
    """Sample a group for each example."""
    return sample_groups(
        policy,
        EXAMPLES,
        config=config,
        generator=torch.Generator().manual_seed(1),
        score=by_chance,
        sampler=Ended(sampler),
    )


def off(policy: Policy, groups: Sequence[Group]) -> float:
    """Return the largest difference between the log-probs of vLLM and of the policy now."""
    largest = 0.0
    for group in groups:
        for rollout in group.rollouts:
            ids = torch.tensor([[*group.prompt_ids, *rollout.completion_ids]])
            with torch.inference_mode():
                logits = policy.model(ids).logits[0, len(group.prompt_ids) - 1 : -1]
            chosen = torch.tensor(rollout.completion_ids).unsqueeze(-1)
            own = logits.log_softmax(-1).gather(-1, chosen).squeeze(-1).tolist()
            largest = max(largest, furthest(rollout.logprobs, own))
    return largest
