"""Attention from one new token per row to all that came before, each shared part computed once.

What a row attends to lies in parts: segments of its prompt, which other rows may have too, tokens
it sampled long ago, and its newest tokens, which stand in one tensor for all rows. Scores of all
parts stand side by side in one softmax. So memory traffic per token grows with what is distinct,
and rows of any lengths go together without padding.

Shapes: `B` rows, `K` key heads, `Q` query heads per key head, `D` head size, `T` tokens of a part,
`W` tokens of the longest row before its newest, `t` newest tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import AttentionInterface

from tooln1_agent.engines.local.segments import Layers

_NAME = "tooln1_shared_prompts"
_FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
"""Model types whose attention is the plain one, and that hand keyword arguments down to it."""


def supports(config: Any) -> bool:
    """Tell whether a model's attention is full and plain in all layers."""
    kinds = getattr(config, "layer_types", None)
    if kinds is None:
        return config.model_type in _FAMILIES and not getattr(config, "sliding_window", None)
    return config.model_type in _FAMILIES and set(kinds) == {"full_attention"}


class Part(NamedTuple):
    """Tokens that some rows attend to."""

    start: int
    """Place of the first token in those rows' sequences."""
    layers: Layers

    @property
    def end(self) -> int:
        """The place after the last token."""
        return self.start + self.layers[0][0].shape[1]


class _Span(NamedTuple):
    """Where a part's scores stand."""

    rows: slice
    columns: slice
    layers: Layers


@dataclass(frozen=True, slots=True)
class Plan:
    """Which rows attend to which parts; it holds until rows or parts change."""

    spans: tuple[_Span, ...]
    order: Tensor | None
    """(B,): the rows, those that share a part side by side; None where they stand like that."""
    inverse: Tensor | None
    """(B,): where each row stands in `order`."""
    width: int
    """W"""

    @classmethod
    def of(cls, rows: Sequence[Sequence[Part]], *, queries: int, device: torch.device) -> Plan:
        """Lay out rows that each attend to these parts, in this order.

        Args:
            queries: Q.
        """
        found: dict[int, Part] = {}
        for part in chain.from_iterable(rows):
            found.setdefault(id(part.layers), part)
        rank = {key: number for number, key in enumerate(found)}
        ranks = [[rank[id(part.layers)] for part in parts] for parts in rows]
        order = sorted(range(len(rows)), key=ranks.__getitem__)
        places: dict[int, list[int]] = {}
        for place, row in enumerate(order):
            for part in rows[row]:
                places.setdefault(id(part.layers), []).append(place)
        spans = tuple(
            _Span(
                slice(places[key][0] * queries, (places[key][-1] + 1) * queries),
                slice(part.start, part.end),
                part.layers,
            )
            for key, part in found.items()
        )
        width = max(part.end for part in found.values())
        if order == sorted(order):
            return cls(spans, None, None, width)
        index = torch.tensor(order, device=device)
        return cls(spans, index, index.argsort(), width)


class Step(NamedTuple):
    """What the attention of all layers must know about the token at hand."""

    plan: Plan
    bias: Tensor
    """(B, t): minus infinity where a row has no such token."""


def _attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: None,
    *,
    scaling: float,
    step: Step,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attend from (B, K * Q, 1, D) to the parts and to the newest tokens, (B, K, t, D)."""
    B, heads, _one, D = query.shape
    K, t = key.shape[1], key.shape[2]
    Q, (plan, bias) = heads // K, step
    q = (query * scaling).view(B, K, Q, D)
    newest = (q @ key.transpose(-1, -2)) + bias[:, None, None]  # (B, K, Q, t)

    by_head = _moved(q.transpose(0, 1), plan.order).reshape(K, B * Q, D)
    scores = q.new_full((K, B * Q, plan.width + t), float("-inf"))
    scores[..., plan.width :] = _moved(newest.transpose(0, 1), plan.order).reshape(K, B * Q, t)
    for rows, columns, layers in plan.spans:
        keys = layers[module.layer_idx][0]  # (K, T, D)
        torch.bmm(by_head[:, rows], keys.transpose(1, 2), out=scores[:, rows, columns])

    weights = scores.softmax(-1, dtype=torch.float32).to(q.dtype)
    out = torch.zeros_like(by_head)
    for rows, columns, layers in plan.spans:
        out[:, rows].baddbmm_(weights[:, rows, columns], layers[module.layer_idx][1])
    by_row = _moved(out.view(K, B, Q, D), plan.inverse).transpose(0, 1)  # (B, K, Q, D)
    of_newest = _moved(weights[..., plan.width :].view(K, B, Q, t), plan.inverse).transpose(0, 1)
    return (by_row + of_newest @ value).reshape(B, 1, heads, D), None


def _moved(by_head: Tensor, order: Tensor | None) -> Tensor:
    """Put the rows of (K, B, …) in an order."""
    return by_head if order is None else by_head[:, order]


AttentionInterface.register(_NAME, _attend)


@contextmanager
def attending(config: Any) -> Iterator[None]:
    """Have a model of this configuration attend by parts; its forward needs `step=`."""
    before = config._attn_implementation
    config._attn_implementation = _NAME
    try:
        yield
    finally:
        config._attn_implementation = before
