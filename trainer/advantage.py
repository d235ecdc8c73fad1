"""How much better a rollout did than its group: the only signal that GRPO has."""

from __future__ import annotations

import torch
from torch import Tensor

EPSILON = 1e-6
"""Added to a group's standard deviation (Tool-N1, arXiv 2505.00024, after GRPO's equation)."""


def group_advantages(rewards: Tensor, *, scale: bool = True) -> Tensor:
    """Centre rewards within each group, and divide by the group's spread if asked.

    Args:
        rewards: (P, G): G rollouts for each of P prompts, G at least 2.
        scale: divide by the sample standard deviation (G - 1 in the denominator) + 1e-6;
            Dr. GRPO (arXiv 2503.20783) leaves it out.

    Returns (P, G); a group without spread gets exact zeros.
    """
    if rewards.dim() != 2 or rewards.shape[1] < 2:
        raise ValueError(f"rewards must be (P, G) with G >= 2, got {tuple(rewards.shape)}")
    centred = rewards - rewards.mean(dim=1, keepdim=True)
    centred = torch.where(has_spread(rewards)[:, None], centred, 0.0)
    if not scale:
        return centred
    return centred / (rewards.std(dim=1, keepdim=True, correction=1) + EPSILON)


def has_spread(rewards: Tensor) -> Tensor:
    """Say for each group, (P, G) -> (P,), whether its rewards differ."""
    return rewards.amax(dim=1) > rewards.amin(dim=1)
