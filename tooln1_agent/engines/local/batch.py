"""The running batch: rows join and leave between any two tokens.

A row's sampled tokens have their keys and values in a block of one tensor for all rows. A row that
leaves gives its place to the last one, so the rows always stand at the beginning and nothing is
gathered. A row that fills its block moves it to memory of its own and begins again: short rows
never pay for the length of long ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import Cache

from tooln1_agent.engines.local.attention import Part, Plan, Step, attending
from tooln1_agent.engines.local.blocks import BLOCK, Blocks
from tooln1_agent.engines.local.prefill import Prefill, PromptCache
from tooln1_agent.engines.local.segments import Layers, Prefixes, Segment


class Batch(Protocol):
    """Rows that sample, in a known order. `model` always has the same configuration."""

    @property
    def prompt_tokens(self) -> int:
        """Tokens of prompts that are kept for these rows alone."""
        ...

    def begin(self, prompt_ids: tuple[int, ...]) -> Prefill:
        """Return the prompt ready to be computed."""
        ...

    def join(self, prefill: Prefill) -> None:
        """Add a row, as the last one, after a prompt that is computed. May be called again."""
        ...

    def leave(self, place: int) -> None:
        """Remove a row; the last row takes its place."""
        ...

    def step(self, model: Any, tokens: list[int]) -> Tensor:
        """Feed one token to each row; return the logits of the next, (B, V), float32."""
        ...


@dataclass(slots=True)
class _Row:
    prompt: Segment
    position: int
    """Of the next token."""
    fill: int = 0
    """Tokens in its block."""
    moved: Layers | None = None
    """Sampled tokens that have left the block."""

    def parts(self) -> list[Part]:
        found = [Part(segment.start, segment.layers) for segment in self.prompt.path()]
        if self.moved is not None:
            start = self.prompt.start + len(self.prompt.tokens)
            found.append(Part(start, self.moved))
        return found


class SharedBatch:
    """Rows over prompts that they share, for models whose attention is the plain one."""

    prompt_tokens = 0  # they are among the prefixes

    def __init__(self, config: Any, *, prefixes: Prefixes, adapter: str | None) -> None:
        """Begin empty; what is learned about prompts goes to `prefixes` under the adapter."""
        self._prefixes, self._adapter = prefixes, adapter
        self._queries = config.num_attention_heads // config.num_key_value_heads
        self._blocks = [Blocks() for _ in range(config.num_hidden_layers)]
        self._cache = Cache(layers=self._blocks)
        self._rows: list[_Row] = []
        self._plan: Plan | None = None

    def begin(self, prompt_ids: tuple[int, ...]) -> Prefill:
        known, done = [], 0
        for segment, shared in self._prefixes.match(self._adapter, prompt_ids):
            taken = min(shared, len(prompt_ids) - 1 - done)  # the last token brings the logits
            known.append((segment, taken))
            done += taken
        cache = PromptCache(len(self._blocks), size=len(prompt_ids), known=known)
        return Prefill(prompt_ids, cache, done=done)

    def join(self, prefill: Prefill) -> None:
        ids = prefill.prompt_ids
        segment = self._prefixes.insert(self._adapter, ids, prefill.cache.contents())
        self._rows.append(_Row(segment, len(ids)))
        for blocks in self._blocks:
            blocks.clear(len(self._rows) - 1)
        self._plan = None

    def leave(self, place: int) -> None:
        self._rows[place].prompt.users -= 1
        for blocks in self._blocks:
            blocks.move(len(self._rows) - 1, place)
        self._rows[place] = self._rows[-1]
        self._rows.pop()
        self._plan = None

    def step(self, model: Any, tokens: list[int]) -> Tensor:
        device = next(model.parameters()).device
        for place, row in enumerate(self._rows):
            if row.fill == BLOCK:
                self._move(place)
        if self._plan is None:
            parts = [row.parts() for row in self._rows]
            self._plan = Plan.of(parts, queries=self._queries, device=device)
        fills = torch.tensor([row.fill for row in self._rows], device=device)
        positions = torch.tensor([[row.position] for row in self._rows], device=device)
        width = max(row.fill for row in self._rows) + 1
        places = torch.arange(width, device=device)
        bias = torch.zeros(len(fills), width, device=device, dtype=model.dtype)
        bias.masked_fill_(places > fills[:, None], float("-inf"))
        for blocks in self._blocks:
            blocks.fills, blocks.width = fills, width
        with attending(model.config):
            out = model(
                input_ids=torch.tensor(tokens, device=device).unsqueeze(-1),
                position_ids=positions,
                past_key_values=self._cache,
                use_cache=True,
                step=Step(self._plan, bias),
            )
        for row in self._rows:
            row.fill += 1
            row.position += 1
        logits: Tensor = out.logits[:, -1].float()
        return logits

    def _move(self, place: int) -> None:
        """Give a row's block to the row, and have it begin again."""
        row = self._rows[place]
        fresh = [blocks.copy(place) for blocks in self._blocks]
        if row.moved is None:
            row.moved = fresh
        else:
            row.moved = [
                (torch.cat([keys, new_keys], 1), torch.cat([values, new_values], 1))
                for (keys, values), (new_keys, new_values) in zip(row.moved, fresh, strict=True)
            ]
        row.fill, self._plan = 0, None
