"""Attention over rows in which several conversations go on from one shared beginning.

A row of `T = P + K * R` tokens is a prefix padded to P and K branches padded to R. A token of the
prefix attends to the prefix up to itself; a token of a branch attends to the whole prefix and to
its own branch up to itself. So each branch is computed as if it stood alone behind the prefix.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, unflatten
from transformers import AttentionInterface

NAME = "branches"
"""As `attn_implementation` of a transformers model."""

_HIDDEN = -1e9


def branch_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    *,
    scaling: float,
    branch: int,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attend as the module's docstring says; returns (B, T, H, D).

    Args:
        query: (B, H, T, D).
        key, value: (B, G, T, D), each for H / G heads of the query.
        attention_mask: (B, 1, 1, P), added to scores: 0 on the prefix, else very negative.
        branch: R.
    """
    rows, heads, total, size = query.shape
    shared, prefix = key.shape[1], attention_mask.shape[-1]
    per, count = heads // shared, (total - prefix) // branch
    query = (query * scaling).view(rows, shared, per, total, size)
    key_p, value_p = key[:, :, :prefix], value[:, :, :prefix]
    key_b, value_b = (unflatten(t[:, :, prefix:], 2, (count, branch)) for t in (key, value))

    before = query[:, :, :, :prefix]  # (B, G, H/G, P, D)
    scores = unflatten(before.flatten(2, 3) @ key_p.mT, 2, (per, prefix)) + _later(prefix, query)
    out_p = unflatten(_softmax(scores, query).flatten(2, 3) @ value_p, 2, (per, prefix))

    after = unflatten(query[:, :, :, prefix:], 3, (count, branch))  # (B, G, H/G, K, R, D)
    to_prefix = unflatten(after.flatten(2, 4) @ key_p.mT, 2, (per, count, branch))
    own = after.transpose(2, 3).flatten(3, 4)  # (B, G, K, H/G * R, D)
    to_own = unflatten(own @ key_b.mT, 3, (per, branch)).transpose(2, 3)
    scores = torch.cat(
        [to_prefix + attention_mask[:, :, None, None], to_own + _later(branch, query)], dim=-1
    )
    weights = _softmax(scores, query)
    from_prefix = unflatten(weights[..., :prefix].flatten(2, 4) @ value_p, 2, (per, count, branch))
    own = weights[..., prefix:].transpose(2, 3).flatten(3, 4)
    from_own = unflatten(own @ value_b, 3, (per, branch)).transpose(2, 3)
    out_b = (from_prefix + from_own).flatten(3, 4)  # (B, G, H/G, K * R, D)

    out = torch.cat([out_p, out_b], dim=3).flatten(1, 2)
    return out.transpose(1, 2).contiguous(), None


def _later(size: int, like: Tensor) -> Tensor:
    """Return what hides the tokens after each token: (size, size)."""
    return torch.full((size, size), _HIDDEN, dtype=like.dtype, device=like.device).triu(1)


def _softmax(scores: Tensor, like: Tensor) -> Tensor:
    return scores.softmax(dim=-1, dtype=torch.float32).to(like.dtype)


AttentionInterface.register(NAME, branch_attention)
