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
from trainer.errors import Diverged, Exploded
from trainer.passes import Budget, group_shares, passes
from trainer.policy import Policy, load_policy
from trainer.prefix import completion_logprobs
from trainer.rollout import Group, Reward, Rollout
from trainer.update import UpdateStats, update
from trainer.variants import VARIANTS, LossName, PrefixForm

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


def measured(
    policy: Policy, groups: list[Group], **settings: Any
) -> tuple[UpdateStats, dict[str, Tensor]]:
    """What one update told, and its gradient; nothing moves, as the learning rate is 0."""
    weights = policy.trainable()
    optimizer = torch.optim.AdamW(list(weights.values()), lr=0.0)
    settings = {"lora_rank": 1, "max_grad_norm": 1e9} | settings
    stats = update(policy, optimizer, groups=groups, config=GrpoConfig(**settings))
    return stats, {name: weight.grad.clone() for name, weight in weights.items()}


def gradients(policy: Policy, groups: list[Group], **settings: Any) -> dict[str, Tensor]:
    return measured(policy, groups, **settings)[1]


def randomize(policy: Policy) -> None:
    """Give the second LoRA matrices values: their zeros would hide half of the gradient."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(5)
        for name, weight in policy.trainable().items():
            if "lora_B" in name:
                weight.normal_(std=0.05)


def test_the_gradient_is_minus_the_advantage_times_the_score_over_all_tokens(
    policy: Policy, groups: list[Group]
) -> None:
    found = gradients(policy, groups, beta=0.0)
    tokens = sum(group.tokens for group in groups)
    total: Any = 0.0
    for share in group_shares(groups, GrpoConfig(lora_rank=1)):
        for rollout, advantage in zip(share.rollouts, share.advantages, strict=True):
            row = completion_logprobs(policy.model, [share.prompt_ids], [[rollout.completion_ids]])
            total = total - advantage * row.values.sum() / tokens
    weights = policy.trainable()
    expected = torch.autograd.grad(total, list(weights.values()))
    assert any(gradient.any() for gradient in expected)
    for name, gradient in zip(weights, expected, strict=True):
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("form", ["tree", "cached", "packed"])
@pytest.mark.parametrize("loss", VARIANTS)
def test_the_gradient_does_not_depend_on_form_or_cut_into_passes(
    policy: Policy, groups: list[Group], loss: LossName, form: PrefixForm
) -> None:
    randomize(policy)
    settings: dict[str, Any] = {"loss": loss, "beta": 0.1}
    whole, expected = measured(policy, groups, prefix_form="cached", **settings)
    for tokens_per_pass in (1, 9, 20, 33, 8192):
        stats, found = measured(
            policy, groups, prefix_form=form, tokens_per_pass=tokens_per_pass, **settings
        )
        torch.testing.assert_close(stats[:2], whole[:2], rtol=1e-5, atol=1e-7)
        for name, gradient in expected.items():
            assert gradient.norm() > 0
            assert (found[name] - gradient).norm() / gradient.norm() <= 1e-5, name


def test_gradient_checkpointing_leaves_the_update_as_it_was(
    tiny_model_dir: Path, policy: Policy, groups: list[Group]
) -> None:
    config = GrpoConfig(lora_rank=1, gradient_checkpointing=True)
    frugal = load_policy(tiny_model_dir, config)
    for each in (policy, frugal):
        randomize(each)
    expected = gradients(policy, groups)
    calls: list[bool] = []
    layer = frugal.model.get_base_model().base_model.layers[0].self_attn
    layer.register_forward_pre_hook(lambda module, _: calls.append(torch.is_grad_enabled()))
    found = gradients(frugal, groups, gradient_checkpointing=True)
    assert calls == [True, False, True]  # forward, reference, forward again in the backward pass
    assert not frugal.model.training
    for name, gradient in expected.items():
        assert (found[name] - gradient).norm() / gradient.norm() <= 1e-5, name


# Rewards 1 and 0, so advantages +a and -a with a = 0.5 / 0.70711 = 0.70711 (0.5 if not scaled);
# ratios 1.5 in the one token of the first rollout; 0.5, 1, 1 in the second; max_tokens = 5.
BY_HAND = {
    "tool_n1": 0.282843,  # (-1.2 + 0.8 + 1 + 1) a / 4
    "grpo": -0.094281,  # (-1.2 + (0.8 + 1 + 1) / 3) a / 2
    "dr_grpo": 0.08,  # (-1.2 + 0.8 + 1 + 1) 0.5 / (2 * 5)
    "dapo": 0.268701,  # (-1.28 + 0.8 + 1 + 1) a / 4
    "gspo": -0.000247487,  # (-1.0004 + 0.9997) a / 2: both beyond the clip, 0.5^(1/3) = 0.794
}


@pytest.mark.parametrize("loss", VARIANTS)
def test_the_loss_is_the_number_worked_by_hand(
    policy: Policy, groups: list[Group], loss: LossName
) -> None:
    completions = [(7,), (8, 9, 10)]
    ratios = torch.tensor([[1.5, 1.0, 1.0], [0.5, 1.0, 1.0]])
    with torch.no_grad():
        new = completion_logprobs(policy.model, [PROMPTS[0]], [completions]).values
    old = (new - ratios.log()).tolist()
    rollouts = tuple(
        Rollout(ids, tuple(row[: len(ids)]), "", Reward(value, ""), False)
        for ids, row, value in zip(completions, old, (1.0, 0.0), strict=True)
    )
    group = replace(groups[0], rollouts=rollouts)
    # CISPO weighs the log-probs themselves: no clip, as all ratios are below 5.
    cispo = 0.70711 * float(-1.5 * new[0, 0] + 0.5 * new[1, 0] + new[1, 1] + new[1, 2]) / 4
    found, _ = measured(policy, [group], loss=loss, beta=0.0, max_tokens=5)
    assert found.loss == pytest.approx(BY_HAND.get(loss, cispo), rel=2e-5, abs=1e-7)
    share = {"gspo": 1.0, "cispo": 0.0}.get(loss, 0.5)
    assert found.clipped_share == share  # the 1.5 and the 0.5, of four tokens


@pytest.mark.parametrize("form", ["tree", "cached", "packed"])
def test_passes_hold_every_rollout_once_and_keep_to_their_limit(
    policy: Policy, groups: list[Group], form: PrefixForm
) -> None:
    shares = group_shares(groups, GrpoConfig(kl_on_flat="keep"))
    shares.append(replace(shares[1], prompt_ids=(*shares[1].prompt_ids, 9)))  # shares a beginning
    rollouts = sorted((r for share in shares for r in share.rollouts), key=id)
    seen = places_seen(policy)
    for limit in (1, 15, 30, 50, 1000):
        packed = list(passes(shares, tokens_per_pass=limit, form=form))
        assert sorted((r for part in packed for s in part for r in s.rollouts), key=id) == rollouts
        assert limit < 1000 or len(packed) == 1
        for part in packed:
            seen.clear()
            completions = [[r.completion_ids for r in share.rollouts] for share in part]
            prompts = [share.prompt_ids for share in part]
            completion_logprobs(policy.model, prompts, completions, form=form)
            assert sum(seen) <= limit or sum(map(len, completions)) == 1


def places_seen(policy: Policy) -> list[int]:
    """Collects how many places each pass has that goes through the model from now on."""
    seen: list[int] = []
    body = policy.model.get_base_model().base_model
    body.layers[0].register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[:2].numel()))
    return seen


@pytest.mark.parametrize("loss", VARIANTS)
def test_a_flat_group_leaves_the_update_as_it_was(
    policy: Policy, groups: list[Group], loss: LossName
) -> None:
    randomize(policy)
    kept = gradients(policy, groups, loss=loss, beta=1e-12, kl_on_flat="keep")
    dropped = gradients(policy, groups, loss=loss, beta=0.0)
    for name, gradient in kept.items():
        assert (dropped[name] - gradient).norm() / gradient.norm() <= 1e-5, name


def test_flat_groups_keep_their_divergence_where_that_is_asked_for(
    policy: Policy, groups: list[Group]
) -> None:
    randomize(policy)
    skipped, kept = (
        gradients(policy, groups, beta=1.0, kl_on_flat=how) for how in ("skip", "keep")
    )
    assert any((kept[n] - g).norm() / g.norm() > 1e-3 for n, g in skipped.items())


def test_imported_groups_pay_for_a_divergence_of_their_own(
    policy: Policy, groups: list[Group]
) -> None:
    randomize(policy)
    *served, flat = groups
    imported = replace(flat, example=flat.example.model_copy(update={"imported": True}))
    without = gradients(policy, groups, beta=0.1)
    for held, of_its_own in ((flat, False), (imported, True)):
        found = gradients(policy, [*served, held], beta=0.1, imported_beta=0.5)
        gaps = [(found[n] - g).norm() / g.norm() for n, g in without.items()]
        assert bool(max(gaps) > 1e-3) is of_its_own

    # The weight is that group's alone: the gradient is affine in it.
    some, more = (
        gradients(policy, [*served, imported], beta=0.1, imported_beta=weight)
        for weight in (0.5, 1.0)
    )
    for name, gradient in more.items():
        expected = 2 * some[name] - without[name]
        assert (gradient - expected).norm() / expected.norm() <= 1e-4, name


def test_a_flat_group_costs_no_pass(policy: Policy, groups: list[Group]) -> None:
    seen = places_seen(policy)
    gradients(policy, groups, beta=0.0)
    everything = seen.copy()
    seen.clear()
    gradients(policy, groups[:2], beta=0.0)
    assert seen == everything


def test_without_divergence_there_is_no_reference_pass(policy: Policy, groups: list[Group]) -> None:
    seen = places_seen(policy)
    gradients(policy, groups, beta=0.0)
    without = len(seen)
    gradients(policy, groups, beta=0.1)
    assert len(seen) - without == 2 * without > 0


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


@pytest.mark.parametrize("form", ["tree", "cached", "packed"])
def test_bfloat16_gives_nearly_the_same_gradient(
    policy: Policy, groups: list[Group], form: PrefixForm
) -> None:
    exact = gradients(policy, groups, beta=0.0)
    rough = gradients(policy, groups, beta=0.0, precision="bfloat16", prefix_form=form)
    one, other = (torch.cat([g.flatten() for g in found.values()]) for found in (exact, rough))
    assert not torch.equal(one, other)
    assert torch.cosine_similarity(one, other, dim=0) > 0.99


def test_running_out_of_memory_halves_the_tokens_of_a_pass_and_changes_nothing_else(
    policy: Policy, groups: list[Group]
) -> None:
    randomize(policy)
    expected = gradients(policy, groups, beta=0.1)
    limit, failures = 20, 0

    def small_memory(_: Any, args: tuple[Tensor, ...]) -> None:
        nonlocal failures
        if args[0].shape[:2].numel() > limit:
            failures += 1
            raise torch.OutOfMemoryError("out of memory")

    body = policy.model.get_base_model().base_model
    body.layers[1].register_forward_pre_hook(small_memory)
    weights = policy.trainable()
    optimizer = torch.optim.AdamW(list(weights.values()), lr=0.0)
    config = GrpoConfig(lora_rank=1, max_grad_norm=1e9, beta=0.1, tokens_per_pass=64)
    budget = Budget(config.tokens_per_pass)
    stats = update(policy, optimizer, groups=groups, config=config, budget=budget)
    assert failures >= 1
    assert stats.tokens_per_pass == budget.tokens < 64
    for name, gradient in expected.items():
        assert (weights[name].grad - gradient).norm() / gradient.norm() <= 1e-5, name
    failures = 0
    update(policy, optimizer, groups=groups, config=config, budget=budget)
    assert failures == 0


def test_memory_that_one_token_exhausts_is_an_error(policy: Policy, groups: list[Group]) -> None:
    def no_memory(*_: Any) -> None:
        raise torch.OutOfMemoryError("out of memory")

    policy.model.get_base_model().base_model.layers[0].register_forward_pre_hook(no_memory)
    with pytest.raises(torch.OutOfMemoryError):
        gradients(policy, groups)


def test_a_policy_too_far_from_the_base_is_moved_no_further(
    policy: Policy, groups: list[Group]
) -> None:
    randomize(policy)
    before = {name: weight.clone() for name, weight in policy.trainable().items()}
    optimizer = torch.optim.AdamW(list(policy.trainable().values()), lr=0.1)
    config = GrpoConfig(lora_rank=1, beta=0.1, max_kl=1e-6)
    with pytest.raises(Exploded, match="nats a token away from the base model"):
        update(policy, optimizer, groups=groups, config=config)
    assert all(torch.equal(weight, before[n]) for n, weight in policy.trainable().items())


def test_one_token_far_from_the_base_model_is_no_policy_gone_astray(
    policy: Policy, monkeypatch: pytest.MonkeyPatch, groups: list[Group]
) -> None:
    def all_but_one(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
        estimates = torch.zeros_like(logprobs)
        estimates[0, 0] = 1e4
        return estimates

    monkeypatch.setattr("trainer.pass_loss.k3_divergence", all_but_one)
    tokens = sum(group.tokens for group in groups if group.has_spread)
    stats, _ = measured(policy, groups, beta=0.1)
    assert 50 / tokens < 10
    assert stats.kl == pytest.approx(50 / tokens)
    monkeypatch.setattr("trainer.pass_loss.k3_divergence", lambda a, _: torch.full_like(a, 14.0))
    with pytest.raises(Exploded):
        measured(policy, groups, beta=0.1)
