"""Keys and values of the tokens that rows sampled last: a block for each row, in one tensor.

The rows in use always stand at the beginning, so attention takes a view and gathers nothing.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicLayer

BLOCK = 128
"""Tokens that a row samples before they move to memory of its own."""


class Blocks(DynamicLayer):  # type: ignore[misc]
    """One layer's keys and values of newest tokens, (rows, K, block, D) each."""

    fills: Tensor
    """(B,): how many tokens each row has, before the one that comes."""
    width: int
    """t: tokens of the row that has most, with the one that comes."""

    def __init__(self) -> None:
        super().__init__()
        self._full: list[Tensor] = []

    def get_seq_length(self) -> int:
        return 0  # nothing of transformers' own masks is used

    def update(
        self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Append one token to each row; return the newest tokens of all, (B, K, t, D)."""
        B = len(key_states)
        if not self._full or len(self._full[0]) < B:
            self._grow(key_states)
        rows = torch.arange(B, device=key_states.device)
        for full, new in zip(self._full, (key_states, value_states), strict=True):
            full[rows, :, self.fills] = new[:, :, 0]
        keys, values = (full[:B, :, : self.width] for full in self._full)
        return keys, values

    def clear(self, place: int) -> None:
        """Forget what was left there: even at weight 0, a NaN would spoil the next row."""
        for full in self._full:
            if place < len(full):
                full[place] = 0

    def move(self, source: int, target: int) -> None:
        """Copy a row's block."""
        for full in self._full:
            if source < len(full):  # a row that has not stepped yet may have no block
                full[target] = full[source]

    def copy(self, place: int) -> tuple[Tensor, Tensor]:
        """Return a full block's keys and values, (K, block, D)."""
        keys, values = (full[place].clone() for full in self._full)
        return keys, values

    def _grow(self, like: Tensor) -> None:
        B, K, _, D = like.shape
        rows = max(B, 2 * len(self._full[0])) if self._full else B
        fresh = [like.new_zeros(rows, K, BLOCK, D) for _ in range(2)]
        for new, old in zip(fresh, self._full, strict=False):
            new[: len(old)] = old
        self._full = fresh
