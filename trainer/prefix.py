"""Log-probs of many completions of the same prompts, each prompt computed once.

The prompt goes through the model alone and fills a cache; the cache is copied for each of the
prompt's completions, which then run on top of it. Indexing the cache is differentiable, so the
gradient of every completion flows back through the one shared prompt, and equals that of whole
rows. Measured against whole rows on a CPU: 6 to 11 times faster at prompts of 600 to 2,000 tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import DynamicCache


class Logprobs(NamedTuple):
    """Log-probs of completion tokens in nats, and which of them are real."""

    values: Tensor
    """(B, T); 0.0 on padding."""
    mask: Tensor
    """(B, T): 1.0 on the tokens of the completion."""


def completion_logprobs(
    model: Any,
    prompts: Sequence[Sequence[int]],
    completions: Sequence[Sequence[Sequence[int]]],
    *,
    temperature: float = 1.0,
) -> Logprobs:
    """Return the log-prob of every completion token under `model`.

    Args:
        model: a causal language model of transformers, or a peft model around one, without
            active dropout; each of its layers must attend to the whole context.
        prompts: P lists of ids, none empty.
        completions: for each prompt its completions, none empty; B in all, in order.
        temperature: the logits are divided by it.
    """
    device = next(model.parameters()).device
    rows = [completion for group in completions for completion in group]
    if len(prompts) != len(completions) or not all(prompts) or not rows or not all(rows):
        raise ValueError("every prompt and completion needs ids, every prompt its completions")
    owner = torch.tensor([p for p, group in enumerate(completions) for _ in group], device=device)

    prompt_ids, prompt_mask = _padded(prompts, device)  # (P, S)
    cache, last = _prefill(model, prompt_ids, prompt_mask)  # last: (P, V)
    cache.batch_select_indices(owner)  # P -> B rows
    ids, mask = _padded(rows, device)  # (B, T)

    first = _token_logprobs(last[owner][:, None], ids[:, :1], temperature)  # (B, 1)
    if ids.shape[1] == 1:
        return Logprobs(first, mask.to(first.dtype))
    context = torch.cat([prompt_mask[owner], mask[:, :-1]], dim=1)  # (B, S + T - 1)
    start = prompt_mask.sum(dim=1)[owner]  # (B,)
    steps = torch.arange(ids.shape[1] - 1, device=device)
    logits = model(
        input_ids=ids[:, :-1],
        attention_mask=context,
        position_ids=start[:, None] + steps,
        past_key_values=cache,
        use_cache=True,
    ).logits  # (B, T - 1, V)
    rest = _token_logprobs(logits, ids[:, 1:], temperature)
    values = torch.cat([first, rest], dim=1)
    return Logprobs(torch.where(mask.bool(), values, 0.0), mask.to(values.dtype))


def _prefill(model: Any, prompt_ids: Tensor, prompt_mask: Tensor) -> tuple[DynamicCache, Tensor]:
    """Run the prompts, (P, S), padded on the right; return their cache and last logits, (P, V)."""
    cache = DynamicCache()
    last = prompt_mask.sum(dim=1) - 1  # (P,)
    wanted, place = torch.unique(last, return_inverse=True)  # (U,), (P,)
    logits = model(
        input_ids=prompt_ids,
        attention_mask=prompt_mask,
        position_ids=torch.arange(prompt_ids.shape[1], device=prompt_ids.device)[None],
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=wanted,
    ).logits  # (P, U, V)
    # Gradient checkpointing drops the cache with no more than a line in the log, and sliding
    # windows cut it; either would make every log-prob wrong without an error.
    kept = {layer.get_seq_length() for layer in cache.layers}
    if kept != {prompt_ids.shape[1]}:
        raise ValueError(
            f"the cache holds {sorted(kept)} of {prompt_ids.shape[1]} prompt tokens; turn gradient "
            "checkpointing off and use a model whose layers all attend to the whole context"
        )
    rows = torch.arange(len(prompt_ids), device=prompt_ids.device)
    return cache, logits[rows, place]


def _token_logprobs(logits: Tensor, ids: Tensor, temperature: float) -> Tensor:
    """Return the log-prob of each id under its logits: (B, T, V), (B, T) -> (B, T), in float32."""
    logits = logits.float() / temperature
    chosen = logits.gather(2, ids[..., None]).squeeze(2)
    return chosen - torch.logsumexp(logits, dim=2)


def _padded(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Pad ids on the right; return them and their mask (1 on real ids), both int64.

    Padding on the right leaves no query without a key to attend to; such a row is NaN in some
    attention kernels.
    """
    width = max(map(len, rows))
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, tokens in enumerate(rows):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        mask[row, : len(tokens)] = 1
    return ids.to(device), mask.to(device)
