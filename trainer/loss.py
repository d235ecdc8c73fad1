"""The loss of a batch of completions, as pure functions on tensors.

`B` completions padded to `T` tokens; `mask` is 1.0 on real tokens. Every function returns a value
per token or a sum over tokens; the caller divides by one normaliser for the whole step, so the
gradient is the same however the step is cut into micro-batches.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

LossName = Literal["grpo", "dr_grpo", "dapo"]


class Variant(NamedTuple):
    """What sets the named losses apart."""

    scale_advantages: bool
    """Divide advantages by the spread of their group."""
    clip_high: float | None
    """Upper clip of the ratio; None takes the lower one."""
    normaliser: Literal["tokens", "max_tokens"]
    """Divide by the tokens that were sampled, or by rollouts times their token limit."""


VARIANTS: dict[LossName, Variant] = {
    # Tool-N1 (arXiv 2505.00024) as it was run: mean over all tokens of the step.
    "grpo": Variant(scale_advantages=True, clip_high=None, normaliser="tokens"),
    # Dr. GRPO (arXiv 2503.20783): neither length nor difficulty weighs a token.
    "dr_grpo": Variant(scale_advantages=False, clip_high=None, normaliser="max_tokens"),
    # DAPO (arXiv 2503.14476): the upper clip is wider, so that rare tokens can grow.
    "dapo": Variant(scale_advantages=True, clip_high=0.28, normaliser="tokens"),
}


def policy_loss(
    logprobs: Tensor,
    old_logprobs: Tensor,
    *,
    advantages: Tensor,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
) -> Tensor:
    """Return the clipped surrogate per token: (B, T), to be minimised.

    Args:
        logprobs: (B, T), with gradient.
        old_logprobs: (B, T), of the policy that sampled.
        advantages: (B,): one for all tokens of a completion.
    """
    ratio = torch.exp(logprobs - old_logprobs)
    clipped = ratio.clamp(1.0 - clip_low, 1.0 + clip_high)
    weight = advantages[:, None]
    return -torch.minimum(ratio * weight, clipped * weight)


def k3_divergence(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """Return Schulman's low-variance estimate of KL(policy || reference) per token: (B, T).

    exp(d) - d - 1 with d = ref - policy: never negative, 0 where the two agree.
    """
    delta = ref_logprobs - logprobs
    return torch.exp(delta) - delta - 1.0


def masked_sum(values: Tensor, mask: Tensor) -> Tensor:
    """Sum over real tokens; what stands on padding, even inf or NaN, does not count."""
    return torch.where(mask.bool(), values, 0.0).sum()


def clipped_share(
    logprobs: Tensor, old_logprobs: Tensor, *, clip_low: float, clip_high: float
) -> Tensor:
    """Return 1.0 for each token whose ratio lies outside the clip range: (B, T)."""
    ratio = torch.exp(logprobs - old_logprobs)
    return ((ratio < 1.0 - clip_low) | (ratio > 1.0 + clip_high)).to(logprobs.dtype)
