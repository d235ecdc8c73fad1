"""Log-probs of many completions of the same prompts, each prompt computed once.

Four forms with one result, to rounding; the gradient of every completion flows back through the
shared prompt, and equals that of whole rows.

- tree: one row holds what all prompts begin with, the rest of each prompt behind it, and behind
  that its completions; matrix products go by node (`tree_attention`). Least work, no cache, so it
  can be checkpointed; takes a number for each pair of a completion's token and one that it sees.
- cached: the prompts fill a cache, which is copied for each completion. Kernels that keep no scores
  do the rest, so it takes least memory where those are good: on a GPU.
- packed: one row holds a prompt and all of its completions, under a mask that shows each
  completion the prompt and itself. One pass and no cache, so it can be checkpointed; the mask takes
  four bytes for each pair of tokens in the row.
- flex: the same row under FlexAttention, which leaves out what is hidden; on a GPU alone, as it has
  no gradient elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import DynamicCache

from trainer.errors import UnsupportedModel
from trainer.packed_rows import flex_form, packed_form
from trainer.prefix_work import Work, pad_rows, pick
from trainer.tree_rows import tree_form
from trainer.variants import PrefixForm
from trainer.vocabulary import token_logprobs


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
    form: PrefixForm = "cached",
) -> Logprobs:
    """Return the log-prob of every completion token under `model`.

    Args:
        model: a causal language model of transformers, or a peft model around one, that
            `vocabulary.check_head` lets pass.
        prompts: P lists of ids, none empty; equal ones are computed once.
        completions: for each prompt its completions, none empty; B in all, in order.
        temperature: the logits are divided by it.
        form: not cached with gradient checkpointing, which drops the cache.

    Raises UnsupportedModel where dropout is active, a layer does not attend to all tokens, or the
    cache is dropped; ConfigError for flex with gradient on a CPU.
    """
    rows = list(chain.from_iterable(completions))
    if len(prompts) != len(completions) or not all(prompts) or not rows or not all(rows):
        raise ValueError("every prompt and completion needs ids, every prompt its completions")
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    _check(causal)
    place = {ids: n for n, ids in enumerate(dict.fromkeys(map(tuple, prompts)))}
    owner = [place[tuple(p)] for p, group in zip(prompts, completions, strict=True) for _ in group]
    work = Work(list(place), rows, owner, next(causal.parameters()).device)
    hidden = _FORMS[form](causal.base_model, work)  # (N, H)

    ids, mask = pad_rows(rows, work.device)  # (B, T)
    real = mask.bool()
    weight = causal.get_output_embeddings().weight
    values = token_logprobs(hidden, ids[real], weight=weight, temperature=temperature)  # (N,)
    filled = values.new_zeros(ids.shape).masked_scatter(real, values)
    return Logprobs(filled, mask.to(values.dtype))


def _cached(body: Any, work: Work) -> Tensor:
    """Return the hidden states that predict the completions' tokens, row by row: (N, H)."""
    prompt_ids, prompt_mask = pad_rows(work.prompts, work.device)  # (P, S)
    cache = DynamicCache()
    hidden = body(
        input_ids=prompt_ids,
        attention_mask=prompt_mask,
        position_ids=torch.arange(prompt_ids.shape[1], device=work.device)[None],
        past_key_values=cache,
        use_cache=True,
    ).last_hidden_state  # (P, S, H)
    # Gradient checkpointing drops the cache with no more than a line in the log, which would make
    # every log-prob wrong without an error.
    kept = {layer.get_seq_length() for layer in cache.layers}
    if kept != {prompt_ids.shape[1]}:
        raise UnsupportedModel(
            f"the cache holds {sorted(kept)} of {prompt_ids.shape[1]} prompt tokens; use "
            "form='packed' with gradient checkpointing"
        )
    owner = torch.tensor(work.owner, device=work.device)  # (B,)
    length = prompt_mask.sum(dim=1)[owner]  # (B,)
    ends = owner * hidden.shape[1] + length - 1
    states = pick(hidden, ends)[:, None]  # (B, 1, H): what the prompt predicts
    ids, mask = pad_rows(work.completions, work.device)  # (B, T)
    if ids.shape[1] > 1:
        for layer in cache.layers:  # P -> B rows
            layer.keys = layer.keys.index_select(0, owner)
            layer.values = layer.values.index_select(0, owner)
        steps = torch.arange(ids.shape[1] - 1, device=work.device)
        later = body(
            input_ids=ids[:, :-1],
            attention_mask=torch.cat([prompt_mask[owner], mask[:, :-1]], dim=1),
            position_ids=length[:, None] + steps,
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state  # (B, T - 1, H)
        states = torch.cat([states, later], dim=1)
    return pick(states, mask.flatten().nonzero().squeeze(1))


_FORMS: dict[PrefixForm, Callable[[Any, Work], Tensor]] = {
    "tree": tree_form,
    "cached": _cached,
    "packed": packed_form,
    "flex": flex_form,
}


def _check(causal: Any) -> None:
    """Refuse what would make the shared prompt another than that of whole rows."""
    kinds = set(getattr(causal.config, "layer_types", None) or ()) - {"full_attention"}
    if kinds or getattr(causal.config, "sliding_window", None):
        raise UnsupportedModel(
            f"{type(causal).__name__} has layers that do not attend to all tokens "
            f"({', '.join(sorted(kinds)) or 'a sliding window'}), and the prompt cannot be shared "
            "with them; use a model whose layers all attend to the whole context"
        )
    for name, module in causal.named_modules():
        rate = getattr(module, "attention_dropout", getattr(module, "p", 0.0))
        if module.training and isinstance(rate, float) and rate > 0.0:
            raise UnsupportedModel(
                f"dropout of {rate} is active in {name!r}: the completions of a group would share "
                "one draw for their prompt; call eval() or set it to 0"
            )
