"""A prompt on its way through the model, in pieces, so that others need not wait for all of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import Cache
from transformers.cache_utils import DynamicLayer

from tooln1_agent.engines.local.segments import Layers, Segment


class Prefill:
    """Computes a prompt's keys and values, and the logits of the token after it."""

    def __init__(self, prompt_ids: Sequence[int], cache: Cache, *, done: int = 0) -> None:
        """Go on from a cache that already holds the first `done` tokens."""
        self.prompt_ids = tuple(prompt_ids)
        self.cache = cache
        self.logits: Tensor | None = None
        """(V,), float32; there once all pieces are done."""
        self._done = done

    @property
    def left(self) -> int:
        """Tokens that are still to be computed."""
        return len(self.prompt_ids) - self._done

    def advance(self, model: Any, at_most: int) -> int:
        """Compute the next piece; return its tokens."""
        piece = self.prompt_ids[self._done : self._done + at_most]
        device = next(model.parameters()).device
        positions = torch.arange(self._done, self._done + len(piece), device=device)
        out = model(
            input_ids=torch.tensor([piece], device=device),
            position_ids=positions.unsqueeze(0),
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        self._done += len(piece)
        if not self.left:
            self.logits = out.logits[0, -1].float()
        return len(piece)


class PromptCache(Cache):  # type: ignore[misc]
    """The cache of one prompt whose length is known: memory is taken once and written in place."""

    def __init__(self, layers: int, *, size: int, known: Sequence[tuple[Segment, int]]) -> None:
        """Begin with known tokens: segments, each with how many of its first tokens to take."""
        super().__init__(
            layers=[
                _PromptLayer(size, [(s.layers[layer], count) for s, count in known])
                for layer in range(layers)
            ]
        )

    def contents(self) -> Layers:
        """Return keys and values of each layer, (K, T, D)."""
        return [(layer.keys[0], layer.values[0]) for layer in self.layers]


class _PromptLayer(DynamicLayer):  # type: ignore[misc]
    def __init__(self, size: int, known: Sequence[tuple[tuple[Tensor, Tensor], int]]) -> None:
        super().__init__()
        self._size, self._known = size, known
        self._length = sum(count for _, count in known)
        self._full: tuple[Tensor, Tensor] | None = None  # keys and values, (1, K, size, D)

    def get_seq_length(self) -> int:
        return self._length

    def update(
        self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Append some tokens, (1, K, n, D); return all so far."""
        if self._full is None:
            self._full = self._room(key_states)
        end = self._length + key_states.shape[2]
        for full, new in zip(self._full, (key_states, value_states), strict=True):
            full[:, :, self._length : end] = new
        self._length, self.is_initialized = end, True
        self.keys, self.values = (full[:, :, :end] for full in self._full)
        return self.keys, self.values

    def _room(self, like: Tensor) -> tuple[Tensor, Tensor]:
        _, K, _, D = like.shape
        keys = like.new_empty(1, K, self._size, D)
        values, at = keys.clone(), 0
        for (known_keys, known_values), count in self._known:
            keys[0, :, at : at + count] = known_keys[:, :count]
            values[0, :, at : at + count] = known_values[:, :count]
            at += count
        self._known = ()
        return keys, values
