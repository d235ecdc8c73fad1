"""The loss of a batch of completions, as pure functions on tensors.

`B` completions padded to `T` tokens; `mask` is 1.0 on real tokens. Every function returns a value
per token or a sum over tokens; the caller divides by one normaliser for the whole step, so the
gradient is the same however the step is cut into micro-batches.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor


def token_ratios(logprobs: Tensor, old_logprobs: Tensor) -> Tensor:
    """Return new over old probability of each token: (B, T)."""
    return torch.exp(logprobs - old_logprobs)


def completion_ratios(logprobs: Tensor, old_logprobs: Tensor, *, mask: Tensor) -> Tensor:
    """Return the geometric mean of a completion's ratios, at each of its tokens: (B, T)."""
    delta = torch.where(mask.bool(), logprobs - old_logprobs, 0.0).sum(dim=1, keepdim=True)
    return torch.exp(delta / mask.sum(dim=1, keepdim=True)).expand_as(mask)


def importance_weights(
    logprobs: Tensor,
    drawn_with: Tensor,
    *,
    mask: Tensor,
    cap: float,
    of: Literal["token", "completion"],
) -> Tensor:
    """Return what each token counts that another policy drew: (B, T), without gradient.

    The probability under the policy over the one it was drawn with, but not more than `cap`: of the
    token, as in V-trace (IMPALA, arXiv 1802.01561, section 4.1), or of its whole completion, which
    is right for a reward that comes at the end, and varies more. Exactly 1 where the two agree.

    Args:
        logprobs: (B, T): of the policy before its update.
        drawn_with: (B, T): of whatever drew the tokens.
    """
    delta = torch.where(mask.bool(), logprobs.detach() - drawn_with, 0.0)
    if of == "completion":
        delta = delta.sum(dim=1, keepdim=True).expand_as(mask)
    return torch.exp(delta).clamp(max=cap)


def clipped_loss(
    ratios: Tensor, *, advantages: Tensor, clip_low: float = 0.2, clip_high: float = 0.2
) -> Tensor:
    """Return the clipped surrogate per token: (B, T), to be minimised.

    Args:
        ratios: (B, T), with gradient.
        advantages: (B,): one for all tokens of a completion.
    """
    clipped = ratios.clamp(1.0 - clip_low, 1.0 + clip_high)
    weight = advantages[:, None]
    return -torch.minimum(ratios * weight, clipped * weight)


def weighted_loss(
    ratios: Tensor, logprobs: Tensor, *, advantages: Tensor, clip_low: float, clip_high: float
) -> Tensor:
    """Return log-probs weighted by advantage and clipped ratio, per token: (B, T), to be minimised.

    The ratio has no gradient here, so that a token beyond the clip still learns.
    """
    weight = ratios.detach().clamp(1.0 - clip_low, 1.0 + clip_high)
    return -weight * advantages[:, None] * logprobs


def k2_divergence(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """Return half of the squared log-ratio per token, Schulman's k2: (B, T).

    On the policy's own tokens its gradient is that of KL(policy || reference), and linear in the
    log-ratio, where that of k3 is KL(reference || policy)'s and exponential: of a large weight, k3
    lets one token that the policy all but never says outweigh a whole step.
    """
    return 0.5 * (logprobs - ref_logprobs).square()


def k3_divergence(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """Return Schulman's low-variance estimate of KL(policy || reference) per token: (B, T).

    exp(d) - d - 1 with d = ref - policy: never negative, 0 where the two agree.
    """
    delta = ref_logprobs - logprobs
    return torch.exp(delta) - delta - 1.0


def masked_sum(values: Tensor, mask: Tensor) -> Tensor:
    """Sum over real tokens; what stands on padding, even inf or NaN, does not count."""
    return torch.where(mask.bool(), values, 0.0).sum()


def clipped_share(ratios: Tensor, *, clip_low: float, clip_high: float) -> Tensor:
    """Return 1.0 for each token whose ratio lies outside the clip range: (B, T)."""
    return ((ratios < 1.0 - clip_low) | (ratios > 1.0 + clip_high)).to(ratios.dtype)
