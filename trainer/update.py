"""One optimizer step from a batch of groups, the same however it is cut into passes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from trainer.advantage import group_advantages
from trainer.config import GrpoConfig
from trainer.errors import Diverged
from trainer.loss import VARIANTS, clipped_share, k3_divergence, masked_sum, policy_loss
from trainer.policy import Policy
from trainer.prefix import completion_logprobs
from trainer.rollout import Group, Rollout


class UpdateStats(NamedTuple):
    """What an update saw; means are over the tokens that were trained on."""

    loss: float = 0.0
    kl: float = 0.0
    grad_norm: float = 0.0
    clipped_share: float = 0.0
    ratio_gap: float = 0.0
    """Largest difference of a token's log-prob between sampler and first pass of the update:
    rounding when all is well, at temperature 1 (tenths in bfloat16, on unlikely tokens)."""


@dataclass(frozen=True, slots=True)
class Share:
    """Rollouts of one group that go through one pass, and their advantages."""

    prompt_ids: tuple[int, ...]
    rollouts: tuple[Rollout, ...]
    advantages: tuple[float, ...]


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
) -> UpdateStats:
    """Take `config.updates_per_batch` steps on a batch of groups; return the last one's stats.

    Flat groups cost nothing: their tokens only count in the normaliser, as they would if they
    went through the model with advantage 0 (unless their divergence is asked for).

    Raises Diverged before a step that would put something not finite into the weights.
    """
    keep_flat = config.kl_on_flat == "keep"
    shares = group_shares([g for g in groups if keep_flat or g.has_spread], config)
    if not shares:
        return UpdateStats()
    normaliser = _normaliser(groups, config)
    stats = UpdateStats()
    for _ in range(config.updates_per_batch):
        stats = _step(policy, optimizer, shares=shares, normaliser=normaliser, config=config)
    return stats


def group_shares(groups: Sequence[Group], config: GrpoConfig) -> list[Share]:
    """Return the groups with their advantages."""
    if not groups:
        return []
    rewards = torch.tensor([group.rewards for group in groups])  # (P, G)
    advantages = group_advantages(rewards, scale=VARIANTS[config.loss].scale_advantages)
    return [
        Share(group.prompt_ids, group.rollouts, tuple(row))
        for group, row in zip(groups, advantages.tolist(), strict=True)
    ]


def passes(shares: Sequence[Share], *, tokens_per_pass: int) -> Iterator[list[Share]]:
    """Pack shares into passes of at most so many padded tokens; a share too large is split.

    At least one completion goes into a pass, however long it is.
    """
    packed: list[Share] = []
    for share in shares:
        for piece in _pieces(share, tokens_per_pass):
            if packed and _padded_tokens([*packed, piece]) > tokens_per_pass:
                yield packed
                packed = []
            packed.append(piece)
    if packed:
        yield packed


def _pieces(share: Share, limit: int) -> Iterator[Share]:
    width = max(len(rollout.completion_ids) for rollout in share.rollouts)
    rows = max(1, (limit - len(share.prompt_ids)) // width)
    for start in range(0, len(share.rollouts), rows):
        part = slice(start, start + rows)
        yield Share(share.prompt_ids, share.rollouts[part], share.advantages[part])


def _padded_tokens(shares: Sequence[Share]) -> int:
    prompt = max(len(share.prompt_ids) for share in shares)
    width = max(len(r.completion_ids) for share in shares for r in share.rollouts)
    return len(shares) * prompt + sum(len(share.rollouts) for share in shares) * width


def _normaliser(groups: Sequence[Group], config: GrpoConfig) -> float:
    if VARIANTS[config.loss].normaliser == "tokens":
        return float(sum(group.tokens for group in groups))
    return float(sum(len(group.rollouts) for group in groups) * config.max_tokens)


def _step(
    policy: Policy,
    optimizer: torch.optim.Optimizer,
    *,
    shares: Sequence[Share],
    normaliser: float,
    config: GrpoConfig,
) -> UpdateStats:
    optimizer.zero_grad(set_to_none=True)
    sums = _Sums()
    for part in passes(shares, tokens_per_pass=config.tokens_per_pass):
        with _precision(policy, config):
            loss = _loss(policy, part, config, sums) / normaliser
        loss.backward()  # type: ignore[no-untyped-call]
        sums.loss += loss.item()
    weights = list(policy.trainable().values())
    norm = float(torch.nn.utils.clip_grad_norm_(weights, config.max_grad_norm))
    if not (math.isfinite(sums.loss) and math.isfinite(norm)):
        raise Diverged(
            f"the loss is {sums.loss} and the gradient's norm {norm}: neither may be anything but "
            "a finite number. The weights before this step were kept: go on from them with "
            "--resume and a lower --learning-rate"
        )
    optimizer.step()
    tokens = max(1.0, sums.tokens)
    return UpdateStats(sums.loss, sums.kl / tokens, norm, sums.clipped / tokens, sums.gap)


def _precision(policy: Policy, config: GrpoConfig) -> torch.autocast:
    """Let matrix products run in bfloat16, where the settings say so."""
    return torch.autocast(
        policy.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"
    )


def _loss(policy: Policy, part: Sequence[Share], config: GrpoConfig, sums: _Sums) -> Tensor:
    """Return the sum of the loss over the tokens of one pass, and add to the running sums."""
    prompts = [share.prompt_ids for share in part]
    completions = [[rollout.completion_ids for rollout in share.rollouts] for share in part]
    logprobs, mask = completion_logprobs(
        policy.model, prompts, completions, temperature=config.temperature
    )  # (B, T)
    old = _old_logprobs(part, logprobs) if config.temperature == 1.0 else logprobs.detach()
    advantages = logprobs.new_tensor([a for share in part for a in share.advantages])  # (B,)
    clip = {"clip_low": config.clip_low, "clip_high": config.upper_clip}
    loss = policy_loss(logprobs, old, advantages=advantages, **clip)
    if config.beta:
        with policy.reference() as model:
            ref = completion_logprobs(model, prompts, completions, temperature=config.temperature)
        divergence = k3_divergence(logprobs, ref.values)
        loss = loss + config.beta * divergence
        sums.kl += masked_sum(divergence.detach(), mask).item()
    with torch.no_grad():
        sums.tokens += mask.sum().item()
        sums.clipped += masked_sum(clipped_share(logprobs, old, **clip), mask).item()
        sums.gap = max(sums.gap, ((logprobs - old) * mask).abs().max().item())
    return masked_sum(loss, mask)


def _old_logprobs(part: Sequence[Share], like: Tensor) -> Tensor:
    """Return what the sampler said of each token, padded with zeros: (B, T)."""
    rows = [rollout.logprobs for share in part for rollout in share.rollouts]
    old = torch.zeros(like.shape, dtype=like.dtype)
    for row, logprobs in enumerate(rows):
        old[row, : len(logprobs)] = torch.tensor(logprobs, dtype=like.dtype)
    return old.to(like.device)
