"""What one pass through the model adds to the loss of a step, and to what the step tells of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from trainer.config import GrpoConfig
from trainer.loss import (
    clipped_loss,
    clipped_share,
    completion_ratios,
    importance_weights,
    k2_divergence,
    k3_divergence,
    masked_sum,
    token_ratios,
    weighted_loss,
)
from trainer.passes import Share
from trainer.policy import Policy
from trainer.prefix import completion_logprobs
from trainer.variants import VARIANTS

_MOST_NATS = 50.0
"""What one token can add to the divergence that is told and that `max_kl` limits. The estimate is
exponential in how much likelier a token is under the base model, so a single one that the policy
all but never says would otherwise pass for a policy gone astray."""


@dataclass(slots=True)
class Sums:
    """Sums over the tokens of all passes of one update."""

    loss: float = 0.0
    kl: float = 0.0
    """Of estimates, each of `_MOST_NATS` at most."""
    clipped: float = 0.0
    gap: float = 0.0
    tokens: float = 0.0
    logged_weight: float = 0.0
    logged_tokens: float = 0.0


def pass_loss(
    policy: Policy,
    part: Sequence[Share],
    *,
    config: GrpoConfig,
    sums: Sums,
    with_reference: bool = False,
) -> Tensor:
    """Return the sum of the loss over the tokens of one pass, and add to the running sums.

    The base model is asked where a share pays for its divergence, or where it is to be. Replies
    that no policy drew pay nothing: their tokens do not tell how far the policy is from it.
    """
    logprobs_under = partial(
        completion_logprobs,
        prompts=[share.prompt_ids for share in part],
        completions=[[rollout.completion_ids for rollout in share.rollouts] for share in part],
        temperature=config.temperature,
        form=config.form_on(policy.device.type),
    )
    logprobs, mask = logprobs_under(policy.model)  # (B, T)
    told = [rollout.logprobs for share in part for rollout in share.rollouts]
    old = _known(told, logprobs) if config.temperature == 1.0 else logprobs.detach()
    advantages = logprobs.new_tensor([a for share in part for a in share.advantages])  # (B,)
    loss, clipped = _surrogate(logprobs, old, mask=mask, advantages=advantages, config=config)
    if with_reference or any(share.pays for share in part):
        with policy.reference() as model:
            ref = logprobs_under(model)
        rows = [(share, rollout) for share in part for rollout in share.rollouts]
        beta = logprobs.new_tensor([share.beta for share, _ in rows])[:, None]
        hold = logprobs.new_tensor([share.hold for share, _ in rows])[:, None]
        is_drawn = mask.new_tensor([rollout.is_drawn for _, rollout in rows])[:, None].bool()
        ref_logprobs = torch.where(is_drawn, ref.values, logprobs.detach())
        divergence = k3_divergence(logprobs, ref_logprobs)
        loss = loss + beta * divergence + hold * k2_divergence(logprobs, ref_logprobs)
        sums.kl += masked_sum(divergence.detach().clamp(max=_MOST_NATS), mask).item()
    with torch.no_grad():
        sums.tokens += mask.sum().item()
        sums.clipped += masked_sum(clipped, mask).item()
        sums.gap = max(sums.gap, ((logprobs - old) * mask).abs().max().item())
    loss = loss * _weights(part, logprobs, mask=mask, config=config, sums=sums)
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


def _weights(
    part: Sequence[Share], logprobs: Tensor, *, mask: Tensor, config: GrpoConfig, sums: Sums
) -> Tensor:
    """Return what each token counts, (B, T): 1, but for logged replies; add to the sums."""
    rows = [rollout.drawn_with for share in part for rollout in share.rollouts]
    weights = importance_weights(
        logprobs,
        _known(rows, logprobs),
        mask=mask,
        cap=config.importance_cap,
        of=config.importance_of,
    )
    is_logged = mask * mask.new_tensor([bool(row) for row in rows])[:, None]
    sums.logged_weight += masked_sum(weights, is_logged).item()
    sums.logged_tokens += is_logged.sum().item()
    return weights


def _known(rows: Sequence[Sequence[float]], like: Tensor) -> Tensor:
    """Return these log-probs, (B, T); those of now, `like`, in rows of which none are known."""
    known = like.detach().clone()
    for row, logprobs in enumerate(rows):
        known[row, : len(logprobs)] = torch.tensor(logprobs, dtype=like.dtype)
    return known
