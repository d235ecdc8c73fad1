"""From prompts to the batch that decodes after them: each distinct prompt is computed once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from tooln1_agent.engines.local.shared_prefix import SharedBatch, supports


def prefill(
    model: Any, prompts: Sequence[Sequence[int]], *, pad_id: int, share: bool = True
) -> tuple[SharedBatch | PlainBatch, Tensor]:
    """Return the batch of rows that go on after their prompts, and their first logits, (B, V).

    Args:
        prompts: one for each row; equal prompts are computed once.
        share: keep each prompt's cache once, where the model's kind of attention allows it.
    """
    places: dict[tuple[int, ...], int] = {}
    of_row = [places.setdefault(tuple(prompt), len(places)) for prompt in prompts]
    longest = max(map(len, places))
    padded = [[pad_id] * (longest - len(prompt)) + list(prompt) for prompt in places]
    real = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in places]
    device = next(model.parameters()).device
    mask = torch.tensor(real, device=device)  # (P, T)
    cache = DynamicCache(config=model.config)
    out = model(
        input_ids=torch.tensor(padded, device=device),
        attention_mask=mask,
        position_ids=(mask.cumsum(-1) - 1).clamp(min=0),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    kind = SharedBatch if share and supports(model.config) else PlainBatch
    index = torch.tensor(of_row, device=device)
    return kind(cache, mask, of_row=of_row), out.logits[:, -1].float()[index]


class PlainBatch:
    """The rows that are still sampling, each with a cache of its own: for any model."""

    def __init__(self, cache: DynamicCache, mask: Tensor, *, of_row: Sequence[int]) -> None:
        """Expand the cache of the prompts to the rows.

        Args:
            cache: of the prompts, each computed once.
            mask: (P, T); 0 where a prompt is padded.
            of_row: for each row its prompt.
        """
        index = torch.tensor(of_row, device=mask.device)
        cache.batch_select_indices(index)
        self.rows = list(range(len(of_row)))
        self._cache = cache
        self._mask = mask[index]  # (B, T), grows
        self._positions = self._mask.sum(-1, keepdim=True)  # (B, 1), of the next token

    def keep(self, places: list[int]) -> None:
        """Drop all rows but those at the given places."""
        index = torch.tensor(places, device=self._mask.device)
        self.rows = [self.rows[place] for place in places]
        self._cache.batch_select_indices(index)
        self._mask, self._positions = self._mask[index], self._positions[index]

    def step(self, model: Any, tokens: Tensor) -> Tensor:
        """Feed one token to each row; return the logits of the next, (B, V), float32."""
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(self.rows), 1)], dim=-1)
        out = model(
            input_ids=tokens.unsqueeze(-1),
            attention_mask=self._mask,
            position_ids=self._positions,
            past_key_values=self._cache,
            use_cache=True,
        )
        self._positions = self._positions + 1
        logits: Tensor = out.logits[:, -1].float()
        return logits
