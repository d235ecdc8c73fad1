"""Attention over a tree: what several sequences begin with in common stands in the row once.

A row holds the levels of a tree one after the other: its root, then the nodes that go on from the
root, then those that go on from these. All nodes of a level are padded to one width. A token sees
its own node up to itself and the nodes that it goes on from, so each path from the root is computed
as if it stood alone. Every product of a level with one before it is one matrix product for each
node of that one, and no key or value is copied for those who share it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import Any, NamedTuple

import torch
from torch import Tensor, unflatten
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

_NAME = "sdpa_or_tree"
_HIDDEN = -1e9
"""Added to a score, and finite: where all of a row is hidden, as on padding, nothing is NaN."""


class Level(NamedTuple):
    """Nodes of one depth, in the order of those that they go on from, as many for each."""

    nodes: int
    """In a row; 1 at the root."""
    width: int
    """Places of a node."""
    is_padded: bool
    """Whether some places at the end of a node may hold nothing."""

    @property
    def size(self) -> int:
        """Places in a row."""
        return self.nodes * self.width


Tree = tuple[Level, ...]


def shared_beginning(rows: Sequence[Sequence[int]]) -> int:
    """Return how many ids all rows begin with; 0 where less than half of the longest is shared.

    At least one id of every row is left. A short root would save little, and what stands below a
    root takes memory for every pair of its tokens.
    """
    if len(rows) < 2:
        return 0
    first, last = min(map(tuple, rows)), max(map(tuple, rows))
    same = takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    shared = min(sum(1 for _ in same), *(len(row) - 1 for row in rows))
    return shared if 2 * shared >= max(map(len, rows)) else 0


def attend_by_tree(body: Any) -> None:
    """Let a model of transformers take `tree=` in its forward pass; without, it computes as before.

    With it, `attention_mask` is (B, 1, 1, T): True on tokens, False on padding. For good, as a
    checkpointed layer runs again in the backward pass.
    """
    if body.config._attn_implementation != _NAME:
        body.set_attn_implementation(_NAME)


def tree_attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor, *, scaling: float, tree: Tree
) -> Tensor:
    """Attend as the module's docstring says; returns (B, T, H, D).

    Args:
        query: (B, H, T, D).
        key, value: (B, G, T, D), each for H / G heads of the query.
        mask: (B, 1, 1, T): True on tokens, False on padding.
        tree: levels of T places in all.
    """
    groups, sizes = key.shape[1], [level.size for level in tree]
    # Autocast leaves queries and keys in float32 after their rotation.
    query, key = (query * scaling).to(value.dtype), key.to(value.dtype)
    queries, keys, values = (torch.split(t, sizes, dim=2) for t in (query, key, value))
    out = [
        scaled_dot_product_attention(
            queries[0], keys[0], values[0], is_causal=True, scale=1.0, enable_gqa=True
        ).transpose(1, 2)
    ]
    past: list[_Seen] = []
    for depth, level in enumerate(tree):
        nodes = (level.nodes, level.width)
        seen = _Seen(unflatten(keys[depth], 2, nodes), unflatten(values[depth], 2, nodes), None)
        if depth:
            asked = unflatten(unflatten(queries[depth], 2, nodes), 1, (groups, -1))
            out.append(_below_root(asked, past, seen))
        if level.is_padded:
            bias = torch.where(torch.split(mask, sizes, dim=3)[depth], 0.0, _HIDDEN).to(value.dtype)
            seen = seen._replace(bias=bias.view(-1, 1, level.nodes, 1, level.width))
        past.append(seen)
    return torch.cat(out, dim=1)


class _Seen(NamedTuple):
    """Keys and values of a level's nodes: (B, G, n, w, D) each."""

    keys: Tensor
    values: Tensor
    bias: Tensor | None
    """(B, 1, n, 1, w): added to their scores."""


def _below_root(query: Tensor, past: list[_Seen], own: _Seen) -> Tensor:
    """Attend from the nodes of a level to themselves and to those before: (B, n * w, H, D).

    Args:
        query: (B, G, H/G, n, w, D).
    """
    rows, groups, per, nodes, width, size = query.shape
    asked = query.transpose(2, 3).reshape(rows, groups, nodes, per * width, size)
    scores = []
    for seen in past:
        score = _by_node(asked, seen) @ seen.keys.mT  # (B, G, m, n/m * H/G * w, w')
        if seen.bias is not None:
            score = score + seen.bias
        scores.append(score.view(*asked.shape[:4], -1))
    later = torch.full((width, width), _HIDDEN, dtype=query.dtype, device=query.device).triu(1)
    scores.append(asked @ own.keys.mT + later.repeat(per, 1))
    weights = torch.cat(scores, dim=-1).softmax(dim=-1)
    parts = torch.split(weights, [score.shape[-1] for score in scores], dim=-1)
    out = parts[-1] @ own.values
    for seen, part in zip(past, parts, strict=False):
        out = out + (_by_node(part, seen) @ seen.values).view_as(out)
    out = unflatten(out, 3, (per, width))  # (B, G, n, H/G, w, D)
    return out.permute(0, 2, 4, 1, 3, 5).reshape(rows, nodes * width, groups * per, size)


def _by_node(rows: Tensor, seen: _Seen) -> Tensor:
    """Put together what goes on from each of the seen nodes: (B, G, n, r, X) to (B, G, m, _, X)."""
    return rows.reshape(*rows.shape[:2], seen.keys.shape[2], -1, rows.shape[-1])


def _sdpa_or_tree(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    tree: Tree | None = None,
    **options: Any,
) -> tuple[Tensor, Tensor | None]:
    if tree is None or attention_mask is None:
        found: tuple[Tensor, Tensor | None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, **options
        )
        return found
    scaling = options["scaling"]
    return tree_attention(query, key, value, attention_mask, scaling=scaling, tree=tree), None


AttentionInterface.register(_NAME, _sdpa_or_tree)
AttentionMaskInterface.register(_NAME, sdpa_mask)
