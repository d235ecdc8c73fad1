"""Rollouts for training, sampled by a real vLLM with the weights of the moment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.e2e.conftest import Vllm
from tests.e2e.vllm_models import furthest, random_policy
from tooln1_agent.engines.local.generate import Sample
from tooln1_agent.engines.vllm.engine import VllmEngine
from tooln1_agent.engines.vllm.running import RunningServer
from tooln1_agent.examples import Example
from tooln1_agent.messages import Message
from tooln1_agent.reward import Reward
from tooln1_agent.targets import NoCall
from trainer.config import GrpoConfig
from trainer.policy import Policy
from trainer.rollout import Group, sample_groups
from trainer.update import update
from trainer.vllm_sampler import VllmSampler

pytestmark = [pytest.mark.slow, pytest.mark.vllm]

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


class Ended(VllmSampler):
    """Lets a model that never comes to an end be paid for a reply that was cut."""

    def sample(self, *args: Any, **options: Any) -> list[list[Sample]]:
        sampled = super().sample(*args, **options)
        return [[replace(sample, finish_reason="stop") for sample in group] for group in sampled]


@pytest.fixture
def policy(vllm: Vllm) -> Policy:
    return random_policy(vllm.model_dir, seed=70)


@pytest.fixture
def engines(vllm: Vllm) -> list[VllmEngine]:
    """One where nobody answers, and one that works."""
    servers = (
        RunningServer("http://127.0.0.1:1"),
        RunningServer(vllm.process.root, vllm.process.api_key),
    )
    return [VllmEngine(vllm.model_dir, server) for server in servers]


@pytest.fixture
def sampler(engines: list[VllmEngine], tmp_path: Path) -> Iterator[VllmSampler]:
    made = Ended(engines, tmp_path)
    yield made
    made.close()


def sampled(policy: Policy, sampler: VllmSampler) -> list[Group]:
    generator = torch.Generator().manual_seed(1)

    def by_chance(text: str, **_: object) -> Reward:
        return Reward(float(sum(map(ord, text)) % 2), "")

    return sample_groups(
        policy, EXAMPLES, config=CONFIG, generator=generator, score=by_chance, sampler=sampler
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


def test_rollouts_are_on_policy_step_after_step_though_a_server_is_down(
    policy: Policy, sampler: VllmSampler, tmp_path: Path
) -> None:
    optimizer = torch.optim.AdamW(policy.trainable().values(), lr=0.02)
    pushed = []
    for _ in range(3):
        groups = sampled(policy, sampler)
        assert [len(group.rollouts) for group in groups] == [CONFIG.group_size] * len(EXAMPLES)
        assert len({rollout.completion_ids for rollout in groups[0].rollouts}) > 1
        assert off(policy, groups) < FIGURES_AGREE
        stats = update(policy, optimizer, groups=groups, config=CONFIG)
        assert stats.ratio_gap < FIGURES_AGREE
        assert off(policy, groups) > FIGURES_AGREE  # the weights have moved
        (version,) = [path.name for path in tmp_path.glob("v*")]
        pushed.append(version)
    assert len(set(pushed)) == 3


def test_weights_that_have_not_moved_are_not_pushed_again(
    policy: Policy, sampler: VllmSampler, tmp_path: Path
) -> None:
    for _ in range(2):
        sampled(policy, sampler)
        assert [path.name[:5] for path in tmp_path.glob("v*")] == ["v0001"]


def test_between_pushes_the_ratio_shows_how_far_the_policy_has_moved(
    policy: Policy, engines: list[VllmEngine], tmp_path: Path
) -> None:
    sampler = Ended(engines, tmp_path, push_every=2)
    optimizer = torch.optim.AdamW(policy.trainable().values(), lr=0.02)
    gaps = []
    for _ in range(3):
        groups = sampled(policy, sampler)
        gaps.append(update(policy, optimizer, groups=groups, config=CONFIG).ratio_gap)
    sampler.close()
    assert gaps[0] < FIGURES_AGREE
    assert gaps[1] > 20 * FIGURES_AGREE
    assert gaps[2] < FIGURES_AGREE
