"""One optimizer step from a batch of groups, the same however it is cut into passes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from trainer.config import GrpoConfig
from trainer.errors import Diverged, Exploded
from trainer.loss import (
    VARIANTS,
    clipped_loss,
    clipped_share,
    completion_ratios,
    k3_divergence,
    masked_sum,
    token_ratios,
    weighted_loss,
)
from trainer.passes import Budget, Share, group_shares, passes
from trainer.policy import Policy
from trainer.prefix import completion_logprobs
from trainer.rollout import Group


class UpdateStats(NamedTuple):
    """What an update saw; means are over the tokens that were trained on."""

    loss: float = 0.0
    kl: float = 0.0
    grad_norm: float = 0.0
    clipped_share: float = 0.0
    ratio_gap: float = 0.0
    """Largest difference of a token's log-prob between sampler and first pass of the update:
    rounding when all is well, at temperature 1 (tenths in bfloat16, on unlikely tokens)."""
    tokens_per_pass: int = 0
    """Padded tokens that a pass was allowed; less than was set after memory had run out."""


@dataclass(slots=True)
class _Sums:
    """Sums over the tokens of all passes of one update."""

    loss: float = 0.0
    kl: float = 0.0
    clipped: float = 0.0
    gap: float = 0.0
    tokens: float = 0.0


def update(
    policy: Policy,
    optimizer: torch.optim.Optimizer,
    *,
    groups: Sequence[Group],
    config: GrpoConfig,
    budget: Budget | None = None,
) -> UpdateStats:
    """Take `config.updates_per_batch` steps on a batch of groups; return the last one's stats.

    Flat groups cost nothing: their tokens only count in the normaliser, as they would if they
    went through the model with advantage 0 (unless their divergence is asked for).

    Args:
        budget: of tokens per pass, halved when memory runs out; the configured one if not given.

    Raises Diverged before a step that would put something not finite into the weights, Exploded
    where the policy is too far from the reference.
    """
    budget = budget or Budget(config.tokens_per_pass)
    keep_flat = config.kl_on_flat == "keep"
    shares = group_shares(
        [g for g in groups if keep_flat or g.has_spread],
        scale=VARIANTS[config.loss].scale_advantages,
    )
    if not shares:
        return UpdateStats()
    normaliser = _normaliser(groups, config)
    stats = UpdateStats()
    for _ in range(config.updates_per_batch):
        stats = step(
            policy, optimizer, shares=shares, normaliser=normaliser, config=config, budget=budget
        )
    return stats


def _normaliser(groups: Sequence[Group], config: GrpoConfig) -> float:
    rollouts = sum(len(group.rollouts) for group in groups)
    match VARIANTS[config.loss].normaliser:
        case "tokens":
            return float(sum(group.tokens for group in groups))
        case "completions":
            return float(rollouts)
        case "max_tokens":
            return float(rollouts * config.max_tokens)


def step(
    policy: Policy,
    optimizer: torch.optim.Optimizer,
    *,
    shares: Sequence[Share],
    normaliser: float,
    config: GrpoConfig,
    budget: Budget,
) -> UpdateStats:
    """Take one step on the loss of these rollouts divided by `normaliser`; raises as `update`."""
    while True:
        optimizer.zero_grad(set_to_none=True)
        try:
            sums = _backward(policy, shares, normaliser=normaliser, config=config, budget=budget)
            break
        except torch.OutOfMemoryError:
            # The gradient does not depend on the cut, so the step can begin again with a finer one.
            if not budget.halve():
                raise
    weights = list(policy.trainable().values())
    norm = float(torch.nn.utils.clip_grad_norm_(weights, config.max_grad_norm))
    tokens = max(1.0, sums.tokens)
    _check(sums, norm=norm, kl=sums.kl / tokens, config=config)
    optimizer.step()
    return UpdateStats(
        loss=sums.loss,
        kl=sums.kl / tokens,
        grad_norm=norm,
        clipped_share=sums.clipped / tokens,
        ratio_gap=sums.gap,
        tokens_per_pass=budget.tokens,
    )


def _backward(
    policy: Policy,
    shares: Sequence[Share],
    *,
    normaliser: float,
    config: GrpoConfig,
    budget: Budget,
) -> _Sums:
    sums = _Sums()
    for part in passes(shares, tokens_per_pass=budget.tokens, form=config.form):
        with policy.learning():
            with _precision(policy, config):
                loss = _loss(policy, part, config, sums) / normaliser
            loss.backward()  # type: ignore[no-untyped-call]
        sums.loss += loss.item()
    return sums


def _check(sums: _Sums, *, norm: float, kl: float, config: GrpoConfig) -> None:
    if not (math.isfinite(sums.loss) and math.isfinite(norm)):
        raise Diverged(
            f"the loss is {sums.loss} and the gradient's norm {norm}: neither may be anything but "
            "a finite number. The weights before this step were kept: go on from them with "
            "--resume and a lower --learning-rate"
        )
    if kl > config.max_kl:
        raise Exploded(
            f"the policy is {kl:.1f} nats a token away from the base model, more than "
            f"max_kl={config.max_kl:g}. Go on from the last checkpoint with --resume and a lower "
            "--learning-rate, or a higher --beta"
        )


def _precision(policy: Policy, config: GrpoConfig) -> torch.autocast:
    """Let matrix products run in bfloat16, where the settings say so."""
    return torch.autocast(
        policy.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"
    )


def _loss(policy: Policy, part: Sequence[Share], config: GrpoConfig, sums: _Sums) -> Tensor:
    """Return the sum of the loss over the tokens of one pass, and add to the running sums."""
    logprobs_under = partial(
        completion_logprobs,
        prompts=[share.prompt_ids for share in part],
        completions=[[rollout.completion_ids for rollout in share.rollouts] for share in part],
        temperature=config.temperature,
        form=config.form,
    )
    logprobs, mask = logprobs_under(policy.model)  # (B, T)
    old = _old_logprobs(part, logprobs) if config.temperature == 1.0 else logprobs.detach()
    advantages = logprobs.new_tensor([a for share in part for a in share.advantages])  # (B,)
    loss, clipped = _surrogate(logprobs, old, mask=mask, advantages=advantages, config=config)
    if config.beta:
        with policy.reference() as model:
            ref = logprobs_under(model)
        divergence = k3_divergence(logprobs, ref.values)
        loss = loss + config.beta * divergence
        sums.kl += masked_sum(divergence.detach(), mask).item()
    with torch.no_grad():
        sums.tokens += mask.sum().item()
        sums.clipped += masked_sum(clipped, mask).item()
        sums.gap = max(sums.gap, ((logprobs - old) * mask).abs().max().item())
    if VARIANTS[config.loss].normaliser == "completions":
        loss = loss / mask.sum(dim=1, keepdim=True)
    return masked_sum(loss, mask)


def _surrogate(
    logprobs: Tensor, old: Tensor, *, mask: Tensor, advantages: Tensor, config: GrpoConfig
) -> tuple[Tensor, Tensor]:
    """Return the loss per token without its divergence, and where it was clipped: both (B, T)."""
    low, high = config.lower_clip, config.upper_clip
    match VARIANTS[config.loss].surrogate:
        case "token":
            ratios = token_ratios(logprobs, old)
            loss = clipped_loss(ratios, advantages=advantages, clip_low=low, clip_high=high)
        case "completion":
            ratios = completion_ratios(logprobs, old, mask=mask)
            loss = clipped_loss(ratios, advantages=advantages, clip_low=low, clip_high=high)
        case "weight":
            ratios = token_ratios(logprobs, old)
            loss = weighted_loss(
                ratios, logprobs, advantages=advantages, clip_low=low, clip_high=high
            )
    return loss, clipped_share(ratios, clip_low=low, clip_high=high)


def _old_logprobs(part: Sequence[Share], like: Tensor) -> Tensor:
    """Return what the sampler said of each token: (B, T); of what nobody sampled, what is now."""
    rows = [rollout.logprobs for share in part for rollout in share.rollouts]
    old = like.detach().clone()
    for row, logprobs in enumerate(rows):
        old[row, : len(logprobs)] = torch.tensor(logprobs, dtype=like.dtype)
    return old
