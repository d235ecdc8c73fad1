"""One optimizer step from a batch of groups, the same however it is cut into passes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from tooln1_agent.reward import Reward
from trainer.config import GrpoConfig
from trainer.distributed import add_gradients, everyone, part
from trainer.errors import Diverged, Exploded
from trainer.pass_loss import Sums, pass_loss
from trainer.passes import Budget, Share, group_shares, passes
from trainer.policy import Policy
from trainer.rollout import Group, Rollout
from trainer.variants import VARIANTS

_IDLE = (Share((0,), (Rollout((0,), (), "", Reward(0.0, ""), False),), (0.0,)),)


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
    shares = group_shares(groups, config)
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
    """Take one step on the loss of these rollouts divided by `normaliser`; raises as `update`.

    Processes that train together share the work, and all take the step.
    """

    # A sharded layer is put together by all processes, so all ask the base model or none does.
    with_reference = config.shard and any(share.pays for share in shares)
    loss_of = partial(pass_loss, policy, config=config, with_reference=with_reference)

    def work() -> Sums:
        mine = part(sorted(shares, key=_tokens))
        while True:
            optimizer.zero_grad(set_to_none=True)
            try:
                return _backward(
                    policy, mine, loss_of, normaliser=normaliser, config=config, budget=budget
                )
            except torch.OutOfMemoryError:
                # The gradient does not depend on the cut, so the step can begin again with a finer
                # one; but other processes with a part of the same base do not begin again.
                if config.shard or not budget.halve():
                    raise

    sums = _total(everyone(work))
    weights = list(policy.trainable().values())
    add_gradients(weights)
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
    loss_of: Callable[..., Tensor],
    *,
    normaliser: float,
    config: GrpoConfig,
    budget: Budget,
) -> Sums:
    sums = Sums()
    form = config.form_on(policy.device.type)
    cut = list(passes(shares, tokens_per_pass=budget.tokens, form=form))
    # A sharded layer is put together by all processes: those with fewer passes add idle ones.
    most = max(everyone(lambda: len(cut))) if config.shard else len(cut)

    def add(together: Sequence[Share], sums: Sums, weight: float) -> None:
        with policy.learning():
            with _precision(policy, config):
                loss = loss_of(together, sums=sums) * weight
            loss.backward()  # type: ignore[no-untyped-call]
        sums.loss += loss.item()

    for together in cut:
        add(together, sums, 1 / normaliser)
    for _ in range(most - len(cut)):
        add(_IDLE, Sums(), 0.0)
    return sums


def _tokens(share: Share) -> int:
    return len(share.prompt_ids) + sum(len(rollout.completion_ids) for rollout in share.rollouts)


def _total(parts: Sequence[Sums]) -> Sums:
    """Return the sums over the passes of all processes."""
    added = {field.name: sum(getattr(each, field.name) for each in parts) for field in fields(Sums)}
    return Sums(**added | {"gap": max(each.gap for each in parts)})


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
