"""The packed form of the shared prompt, under a mask or under FlexAttention."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tooln1_agent.errors import ConfigError
from trainer.packed_mask import attend_by_blocks, block_mask, score_mask
from trainer.prefix_work import Work, pad_rows, pick


def packed_form(body: Any, work: Work) -> Tensor:
    """Return the hidden states that predict the completions' tokens, row by row: (N, H)."""
    dtype = next(body.parameters()).dtype
    return _in_rows(body, work, mask=lambda segment: score_mask(segment, dtype))


def flex_form(body: Any, work: Work) -> Tensor:
    """Return the same, under FlexAttention."""
    if work.device.type == "cpu" and torch.is_grad_enabled():
        raise ConfigError("FlexAttention has no gradient on a CPU; use prefix_form='packed' there")
    attend_by_blocks(body)
    return _in_rows(body, work, mask=block_mask)


def _in_rows(body: Any, work: Work, *, mask: Callable[[Tensor], Any]) -> Tensor:
    """Return the hidden states of rows that hold a prompt and all of its completions.

    The last token of a completion predicts nothing and has no place in the row.
    """
    ids = [list(prompt) for prompt in work.prompts]
    positions = [list(range(len(prompt))) for prompt in work.prompts]
    segments = [[0] * len(prompt) for prompt in work.prompts]
    sources: list[tuple[int, int]] = []  # row and place
    for number, (row, tokens) in enumerate(zip(work.owner, work.completions, strict=True), 1):
        size, end = len(work.prompts[row]), len(ids[row])
        sources += [(row, place) for place in (size - 1, *range(end, end + len(tokens) - 1))]
        ids[row] += tokens[:-1]
        positions[row] += range(size, size + len(tokens) - 1)
        segments[row] += [number] * (len(tokens) - 1)
    padded, position, segment = (
        pad_rows(lists, work.device)[0] for lists in (ids, positions, segments)
    )  # (P, L)
    hidden = body(
        input_ids=padded, attention_mask=mask(segment), position_ids=position, use_cache=False
    ).last_hidden_state  # (P, L, H)
    width = hidden.shape[1]
    flat = torch.tensor([row * width + place for row, place in sources], device=work.device)
    return pick(hidden, flat)
