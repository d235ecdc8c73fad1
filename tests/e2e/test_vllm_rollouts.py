"""Rollouts for training, sampled by a real vLLM with the weights of the moment."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.e2e.conftest import Vllm
from tests.e2e.rolling import CONFIG, EXAMPLES, FIGURES_AGREE, off, sampled
from tests.e2e.vllm_models import random_policy
from tooln1_agent.engines.resolve import SEED_DIR
from tooln1_agent.engines.vllm.engine import VllmEngine
from tooln1_agent.engines.vllm.running import RunningServer
from trainer.policy import Policy
from trainer.update import update
from trainer.vllm_sampler import SamplerChoice, VllmSampler, open_sampler

pytestmark = [pytest.mark.slow, pytest.mark.vllm]


@pytest.fixture
def policy(vllm: Vllm) -> Policy:
    return random_policy(vllm.model_dir, seed=70)


@pytest.fixture
def engines(vllm: Vllm) -> list[VllmEngine]:
    """One where nobody answers, and one that works."""
    return [VllmEngine(vllm.model_dir, RunningServer("http://127.0.0.1:1")), vllm.engine()]


@pytest.fixture
def sampler(engines: list[VllmEngine], tmp_path: Path) -> Iterator[VllmSampler]:
    made = VllmSampler(engines, tmp_path)
    yield made
    made.close()


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
    sampler = VllmSampler(engines, tmp_path, push_every=2)
    optimizer = torch.optim.AdamW(policy.trainable().values(), lr=0.02)
    gaps = []
    for _ in range(3):
        groups = sampled(policy, sampler)
        gaps.append(update(policy, optimizer, groups=groups, config=CONFIG).ratio_gap)
    sampler.close()
    assert gaps[0] < FIGURES_AGREE
    assert gaps[1] > 20 * FIGURES_AGREE
    assert gaps[2] < FIGURES_AGREE


def test_a_vllm_that_is_started_for_the_run_samples_from_the_seed_model(
    vllm_python: Path, tmp_path: Path
) -> None:
    policy = random_policy(SEED_DIR, seed=72)
    choice = SamplerChoice("vllm", python=vllm_python)
    with open_sampler(choice, SEED_DIR, config=CONFIG, home=tmp_path) as sampler:
        assert sampler is not None
        groups = sampled(policy, sampler)
        pid = int(re.findall(r"APIServer pid=(\d+)", (tmp_path / "vllm.log").read_text())[0])
    assert [len(group.rollouts) for group in groups] == [CONFIG.group_size] * len(EXAMPLES)
    assert off(policy, groups) < FIGURES_AGREE
    assert not (tmp_path / "pushed").exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
