"""Decoding many rows that share few prompts, each prompt's keys and values kept once.

Attention over prompt and sampled tokens is one softmax over two products: with the prompt's keys,
all rows of a group at once, and with the row's own. So memory traffic per step grows with the
prompts and not with the rows, and nothing is copied but what is new. On a CPU that is most of
the time of a step.

Shapes: `P` prompts, `T` prompt tokens (padded on the left), `B` rows, `S` places (the rows of the
largest group), `K` key heads, `Q` query heads per key head, `D` head size, `t` sampled tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, Cache, DynamicCache
from transformers.cache_utils import DynamicLayer

_NAME = "tooln1_shared_prefix"
_BLOCK = 64
_FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
"""Model types whose attention is the plain one, and that hand keyword arguments down to it."""


def supports(config: Any) -> bool:
    """Tell whether a model's attention is full and plain in all layers."""
    kinds = getattr(config, "layer_types", None)
    if kinds is None:
        return config.model_type in _FAMILIES and not getattr(config, "sliding_window", None)
    return config.model_type in _FAMILIES and set(kinds) == {"full_attention"}


class SharedBatch:
    """The rows that are still sampling, over the prompts that they share."""

    def __init__(self, cache: DynamicCache, mask: Tensor, *, of_row: Sequence[int]) -> None:
        """Take over the cache of the prompts.

        Args:
            cache: of the prompts, each computed once.
            mask: (P, T); 0 where a prompt is padded.
            of_row: for each row its prompt.
        """
        self.rows = list(range(len(of_row)))
        self._prefix = _Prefix(cache, mask, list(of_row))
        index = torch.tensor(of_row, device=mask.device)
        self._positions = mask.sum(-1, keepdim=True)[index]  # (B, 1), of the next token
        self._own = Cache(layers=[_GrowingLayer() for _ in cache.layers])

    def keep(self, places: list[int]) -> None:
        """Drop all rows but those at the given places."""
        index = torch.tensor(places, device=self._positions.device)
        self.rows = [self.rows[place] for place in places]
        self._positions = self._positions[index]
        self._own.batch_select_indices(index)
        self._prefix.keep(places)

    def step(self, model: Any, tokens: Tensor) -> Tensor:
        """Feed one token to each row; return the logits of the next, (B, V), float32."""
        with _attention(model.config):
            out = model(
                input_ids=tokens.unsqueeze(-1),
                position_ids=self._positions,
                past_key_values=self._own,
                use_cache=True,
                shared_prefix=self._prefix,
            )
        self._positions = self._positions + 1
        logits: Tensor = out.logits[:, -1].float()
        return logits


class _Prefix:
    """Keys and values of the prompts, and which rows belong to which."""

    def __init__(self, cache: DynamicCache, mask: Tensor, of_row: list[int]) -> None:
        self.keys = [layer.keys for layer in cache.layers]  # each (P, K, T, D)
        self.values = [layer.values for layer in cache.layers]
        self.bias = torch.zeros(mask.shape, device=mask.device)  # (P, T)
        self.bias.masked_fill_(mask == 0, float("-inf"))
        self._place(of_row)

    def keep(self, places: list[int]) -> None:
        """Drop rows; drop prompts too once half of them have no rows left."""
        of_row = [self._of_row[place] for place in places]
        living = sorted(set(of_row))
        if 2 * len(living) <= len(self.bias):
            index = torch.tensor(living, device=self.bias.device)
            self.keys = [keys[index] for keys in self.keys]
            self.values = [values[index] for values in self.values]
            self.bias = self.bias[index]
            of_row = [living.index(prompt) for prompt in of_row]
        self._place(of_row)

    def _place(self, of_row: list[int]) -> None:
        self._of_row = of_row
        sizes: dict[int, int] = {}
        slots = []
        for prompt in of_row:
            slots.append(sizes.get(prompt, 0))
            sizes[prompt] = slots[-1] + 1
        self._size = max(sizes.values())  # S
        device = self.bias.device
        self._prompt, self._slot = (torch.tensor(x, device=device) for x in (of_row, slots))

    def by_prompt(self, rows: Tensor) -> Tensor:
        """Stack the rows of each group: (B, K, Q, N) to (P, K, S * Q, N), gaps filled with 0."""
        _, K, Q, N = rows.shape
        stacked = rows.new_zeros(len(self.bias), self._size, K, Q, N)
        stacked[self._prompt, self._slot] = rows
        return stacked.transpose(1, 2).reshape(len(self.bias), K, self._size * Q, N)

    def by_row(self, stacked: Tensor) -> Tensor:
        """Undo `by_prompt`: (P, K, S * Q, N) to (B, K, Q, N)."""
        P, K, SQ, N = stacked.shape
        return stacked.view(P, K, self._size, SQ // self._size, N)[self._prompt, :, self._slot]


class _GrowingLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of sampled tokens, (B, K, t, D), in memory that is taken in blocks."""

    def __init__(self) -> None:
        super().__init__()
        self._length = 0
        self._full: list[Tensor] = []  # keys and values, with room for more

    def update(
        self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Append one token to each row; return all of them."""
        if self._length % _BLOCK == 0:
            B, K, _one, D = key_states.shape
            fresh = key_states.new_empty(B, K, _BLOCK, D)
            grown = [fresh, fresh.clone()]
            if self._length:
                grown = [torch.cat(pair, dim=2) for pair in zip(self._full, grown, strict=True)]
            self._full = grown
            self.is_initialized = True
        for full, new in zip(self._full, (key_states, value_states), strict=True):
            full[:, :, self._length] = new[:, :, 0]
        self._length += 1
        self.keys, self.values = (full[:, :, : self._length] for full in self._full)
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        if self._length:
            self._full = [full[indices] for full in self._full]


def _attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: None,
    *,
    scaling: float,
    shared_prefix: _Prefix,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attend from one new token per row, (B, K * Q, 1, D), to its prompt and its own tokens."""
    B, heads, _one, D = query.shape
    K, t = key.shape[1], key.shape[2]
    q = (query * scaling).view(B, K, heads // K, D)
    keys, values = shared_prefix.keys[module.layer_idx], shared_prefix.values[module.layer_idx]
    to_prompt = shared_prefix.by_prompt(q) @ keys.transpose(-1, -2)  # (P, K, S * Q, T)
    to_prompt = to_prompt.float() + shared_prefix.bias[:, None, None]
    to_own = (q @ key.transpose(-1, -2)).float()  # (B, K, Q, t)
    weights = torch.cat([shared_prefix.by_row(to_prompt), to_own], dim=-1).softmax(-1).to(q.dtype)
    of_prompt, of_own = weights[..., :-t], weights[..., -t:]
    out = shared_prefix.by_row(shared_prefix.by_prompt(of_prompt) @ values) + of_own @ value
    return out.reshape(B, 1, heads, D), None


AttentionInterface.register(_NAME, _attend)


@contextmanager
def _attention(config: Any) -> Iterator[None]:
    """Have the model attend by `_attend`."""
    before = config._attn_implementation
    config._attn_implementation = _NAME
    try:
        yield
    finally:
        config._attn_implementation = before
