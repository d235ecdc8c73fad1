"""The running batch for models with an attention of their own kind (sliding windows, say).

Every row has a cache of transformers' own, and takes its step alone: right for any model, and no
faster for many rows than for one.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from tooln1_agent.engines.local.prefill import Prefill


@dataclass(slots=True)
class _Row:
    cache: DynamicCache
    prompt_tokens: int
    position: int
    """Of the next token."""


class PlainBatch:
    """Rows that share nothing."""

    def __init__(self, config: Any) -> None:
        self._config = config
        self._rows: list[_Row] = []

    @property
    def prompt_tokens(self) -> int:
        return sum(row.prompt_tokens for row in self._rows)

    def begin(self, prompt_ids: tuple[int, ...]) -> Prefill:
        return Prefill(prompt_ids, DynamicCache(config=self._config))

    def join(self, prefill: Prefill) -> None:
        length = len(prefill.prompt_ids)
        self._rows.append(_Row(copy.deepcopy(prefill.cache), length, position=length))

    def leave(self, place: int) -> None:
        self._rows[place] = self._rows[-1]
        self._rows.pop()

    def step(self, model: Any, tokens: list[int]) -> Tensor:
        device = next(model.parameters()).device
        logits = []
        for row, token in zip(self._rows, tokens, strict=True):
            out = model(
                input_ids=torch.tensor([[token]], device=device),
                position_ids=torch.tensor([[row.position]], device=device),
                past_key_values=row.cache,
                use_cache=True,
            )
            logits.append(out.logits[:, -1].float())
            row.position += 1
        return torch.cat(logits)
