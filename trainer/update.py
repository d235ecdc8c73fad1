"""One optimizer step from a batch of groups, the same however it is cut into passes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch

from trainer.config import GrpoConfig
from trainer.errors import Diverged, Exploded
from trainer.pass_loss import Sums, pass_loss
from trainer.passes import Budget, Share, group_shares, passes
from trainer.policy import Policy
from trainer.rollout import Group
from trainer.variants import VARIANTS


class UpdateStats(NamedTuple):
    """What an update saw; means are over the tokens that were trained on."""

    loss: float = 0.0
    kl: float = 0.0
    grad_norm: float = 0.0
    clipped_share: float = 0.0
    ratio_gap: float = 0.0
    """Largest difference of a token's log-prob between sampler and first pass of the update:
    rounding when all is well, at temperature 1 (tenths in bfloat16, on unlikely tokens)."""
    logged_weight: float | None = None
    """Mean weight of a token of a logged reply: the further below 1, the further the policy is
    from whoever wrote it; None where there was none."""
    tokens_per_pass: int = 0
    """Padded tokens that a pass was allowed; less than was set after memory had run out."""


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
    members = [member for group in groups for member in group.members]
    match VARIANTS[config.loss].normaliser:
        case "tokens":
            return float(sum(len(member.completion_ids) for member in members))
        case "completions":
            return float(len(members))
        case "max_tokens":
            return float(len(members) * config.max_tokens)


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
        logged_weight=sums.logged_weight / sums.logged_tokens if sums.logged_tokens else None,
        tokens_per_pass=budget.tokens,
    )


def _backward(
    policy: Policy,
    shares: Sequence[Share],
    *,
    normaliser: float,
    config: GrpoConfig,
    budget: Budget,
) -> Sums:
    sums = Sums()
    for part in passes(shares, tokens_per_pass=budget.tokens, form=config.form):
        with policy.learning():
            with _precision(policy, config):
                loss = pass_loss(policy, part, config=config, sums=sums) / normaliser
            loss.backward()  # type: ignore[no-untyped-call]
        sums.loss += loss.item()
    return sums


def _check(sums: Sums, *, norm: float, kl: float, config: GrpoConfig) -> None:
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
