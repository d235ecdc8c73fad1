"""One optimizer step: what it costs, what it divides by, what it does however it is cut."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tooln1_agent.examples import Example
from trainer.config import GrpoConfig
from trainer.errors import Diverged
from trainer.policy import Policy, load_policy
from trainer.prefix import completion_logprobs
from trainer.rollout import Group, Reward, Rollout
from trainer.update import group_shares, passes, update

REWARDS = [[1.0, 0.0, 0.0], [0.0, 1.0, 1.0], [1.0, 1.0, 1.0]]
PROMPTS = [(5, 6, 7, 8, 9), (10, 11), (12, 13, 14)]


@pytest.fixture
def policy(tiny_model_dir: Path) -> Policy:
    return load_policy(tiny_model_dir, GrpoConfig(lora_rank=1))


@pytest.fixture
def groups(policy: Policy, make_examples: Callable[..., list[Example]]) -> list[Group]:
    """Three groups of three; the last one is flat. Log-probs as the policy itself has them."""
    draws = torch.Generator().manual_seed(1)
    made = []
    for prompt, rewards, example in zip(PROMPTS, REWARDS, make_examples(["on"] * 3), strict=True):
        lengths = torch.randint(1, 9, (3,), generator=draws).tolist()
        completions = [
            tuple(torch.randint(0, 200, (n,), generator=draws).tolist()) for n in lengths
        ]
        with torch.no_grad():
            found = completion_logprobs(policy.model, [prompt], [completions]).values.tolist()
        rollouts = tuple(
            Rollout(ids, tuple(row[: len(ids)]), "", Reward(value, ""), False)
            for ids, row, value in zip(completions, found, rewards, strict=True)
        )
        made.append(Group(example, prompt, rollouts))
    return made


def gradients(policy: Policy, groups: list[Group], **settings: Any) -> dict[str, Tensor]:
    """The gradient of one update; nothing moves, as the learning rate is 0."""
    weights = policy.trainable()
    optimizer = torch.optim.AdamW(list(weights.values()), lr=0.0)
    settings = {"lora_rank": 1, "max_grad_norm": 1e9} | settings
    update(policy, optimizer, groups=groups, config=GrpoConfig(**settings))
    return {name: weight.grad.clone() for name, weight in weights.items()}


def test_the_gradient_is_minus_the_advantage_times_the_score_over_all_tokens(
    policy: Policy, groups: list[Group]
) -> None:
    found = gradients(policy, groups, beta=0.0)
    tokens = sum(group.tokens for group in groups)
    total: Any = 0.0
    for share in group_shares(groups, GrpoConfig()):
        for rollout, advantage in zip(share.rollouts, share.advantages, strict=True):
            row = completion_logprobs(policy.model, [share.prompt_ids], [[rollout.completion_ids]])
            total = total - advantage * row.values.sum() / tokens
    weights = policy.trainable()
    expected = torch.autograd.grad(total, list(weights.values()))
    assert any(gradient.any() for gradient in expected)
    for name, gradient in zip(weights, expected, strict=True):
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("tokens_per_pass", [1, 9, 20, 33])
@pytest.mark.parametrize("loss", ["grpo", "dr_grpo", "dapo"])
def test_the_gradient_does_not_depend_on_the_cut_into_passes(
    policy: Policy, groups: list[Group], tokens_per_pass: int, loss: str
) -> None:
    whole = gradients(policy, groups, loss=loss, beta=0.1)
    cut = gradients(policy, groups, loss=loss, beta=0.1, tokens_per_pass=tokens_per_pass)
    for name, gradient in whole.items():
        torch.testing.assert_close(cut[name], gradient, rtol=1e-4, atol=1e-8)


def test_passes_hold_every_rollout_once_and_keep_to_their_limit(groups: list[Group]) -> None:
    shares = group_shares(groups, GrpoConfig())
    for limit in (1, 15, 30, 1000):
        packed = list(passes(shares, tokens_per_pass=limit))
        rollouts = [r for part in packed for share in part for r in share.rollouts]
        assert rollouts == [r for group in groups for r in group.rollouts]
        assert limit < 1000 or len(packed) == 1
        for part in packed:
            width = max(len(r.completion_ids) for share in part for r in share.rollouts)
            prompt = max(len(share.prompt_ids) for share in part)
            rows = sum(len(share.rollouts) for share in part)
            assert rows == 1 or len(part) * prompt + rows * width <= limit


def test_a_flat_group_costs_no_pass_and_leaves_the_update_as_it_was(
    policy: Policy, groups: list[Group], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def counting(model: Any, prompts: Any, completions: Any, **options: Any) -> Any:
        seen.extend(len(prompt) for prompt in prompts)
        return completion_logprobs(model, prompts, completions, **options)

    monkeypatch.setattr("trainer.update.completion_logprobs", counting)
    kept = gradients(policy, groups, beta=1e-12, kl_on_flat="keep")
    seen.clear()
    dropped = gradients(policy, groups, beta=0.0)
    assert sorted(seen) == [2, 5]  # the flat group's prompt of 3 is not among them
    for name, gradient in kept.items():
        torch.testing.assert_close(dropped[name], gradient, rtol=1e-4, atol=1e-7)


def test_only_flat_groups_change_nothing(policy: Policy, groups: list[Group]) -> None:
    before = {name: weight.clone() for name, weight in policy.trainable().items()}
    optimizer = torch.optim.AdamW(list(policy.trainable().values()), lr=1.0, weight_decay=0.1)
    stats = update(policy, optimizer, groups=groups[2:], config=GrpoConfig(lora_rank=1))
    assert stats.loss == 0.0
    assert all(torch.equal(weight, before[n]) for n, weight in policy.trainable().items())


def test_an_update_makes_good_rollouts_likelier(policy: Policy, groups: list[Group]) -> None:
    def gap() -> float:
        with torch.no_grad():
            ids = [[r.completion_ids for r in groups[0].rollouts]]
            sums = completion_logprobs(policy.model, [groups[0].prompt_ids], ids).values.sum(1)
        return float(sums[0] - sums[1])

    before = gap()
    optimizer = torch.optim.AdamW(list(policy.trainable().values()), lr=0.05)
    stats = update(policy, optimizer, groups=groups, config=GrpoConfig(lora_rank=1))
    assert stats.ratio_gap < 1e-5
    update(policy, optimizer, groups=groups, config=GrpoConfig(lora_rank=1))
    assert gap() > before


def test_the_divergence_is_zero_for_new_lora_and_grows_with_it(
    policy: Policy, groups: list[Group]
) -> None:
    config = GrpoConfig(lora_rank=1, beta=0.1)
    optimizer = torch.optim.AdamW(list(policy.trainable().values()), lr=0.05)
    assert update(policy, optimizer, groups=groups, config=config).kl < 1e-9
    assert update(policy, optimizer, groups=groups, config=config).kl > 1e-9


def test_a_gradient_that_is_no_number_moves_no_weight(policy: Policy, groups: list[Group]) -> None:
    broken = replace(groups[0].rollouts[0], logprobs=(-float("inf"),) * 99)
    length = len(broken.completion_ids)
    broken = replace(broken, logprobs=broken.logprobs[:length], reward=Reward(-1.0, ""))
    bad = replace(groups[0], rollouts=(broken, *groups[0].rollouts[1:]))
    before = {name: weight.clone() for name, weight in policy.trainable().items()}
    optimizer = torch.optim.AdamW(list(policy.trainable().values()), lr=0.1)
    with pytest.raises(Diverged, match="lower --learning-rate"):
        update(policy, optimizer, groups=[bad], config=GrpoConfig(lora_rank=1))
    assert all(torch.equal(weight, before[n]) for n, weight in policy.trainable().items())


def test_bfloat16_gives_nearly_the_same_gradient(policy: Policy, groups: list[Group]) -> None:
    exact = gradients(policy, groups, beta=0.0)
    rough = gradients(policy, groups, beta=0.0, precision="bfloat16")
    one, other = (torch.cat([g.flatten() for g in found.values()]) for found in (exact, rough))
    assert not torch.equal(one, other)
    assert torch.cosine_similarity(one, other, dim=0) > 0.99
