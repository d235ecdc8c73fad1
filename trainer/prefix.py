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

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import DynamicCache

from tooln1_agent.errors import ConfigError
from trainer.errors import UnsupportedModel
from trainer.packed_mask import attend_by_blocks, block_mask, score_mask
from trainer.tree_attention import Level, attend_by_tree, shared_beginning
from trainer.variants import PrefixForm
from trainer.vocabulary import token_logprobs


class Logprobs(NamedTuple):
    """Log-probs of completion tokens in nats, and which of them are real."""

    values: Tensor
    """(B, T); 0.0 on padding."""
    mask: Tensor
    """(B, T): 1.0 on the tokens of the completion."""


class _Work(NamedTuple):
    """What a form gets: no prompt twice, B completions in order."""

    prompts: list[tuple[int, ...]]
    completions: list[Sequence[int]]
    owner: list[int]
    """Of each completion, the place of its prompt."""
    device: torch.device


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
    work = _Work(list(place), rows, owner, next(causal.parameters()).device)
    hidden = _FORMS[form](causal.base_model, work)  # (N, H)

    ids, mask = _padded(rows, work.device)  # (B, T)
    real = mask.bool()
    weight = causal.get_output_embeddings().weight
    values = token_logprobs(hidden, ids[real], weight=weight, temperature=temperature)  # (N,)
    filled = values.new_zeros(ids.shape).masked_scatter(real, values)
    return Logprobs(filled, mask.to(values.dtype))


def _cached(body: Any, work: _Work) -> Tensor:
    """Return the hidden states that predict the completions' tokens, row by row: (N, H)."""
    prompt_ids, prompt_mask = _padded(work.prompts, work.device)  # (P, S)
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
    states = _pick(hidden, ends)[:, None]  # (B, 1, H): what the prompt predicts
    ids, mask = _padded(work.completions, work.device)  # (B, T)
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
    return _pick(states, mask.flatten().nonzero().squeeze(1))


class _Depth(NamedTuple):
    """Segments of ids that stand at one depth of a tree, and the position each begins at."""

    segments: list[Sequence[int]]
    begins: list[int]


def _tree(body: Any, work: _Work) -> Tensor:
    """Return the hidden states that predict the completions' tokens, row by row: (N, H)."""
    count = len(work.prompts)
    of_prompt = [[n for n, owner in enumerate(work.owner) if owner == p] for p in range(count)]
    most = max(map(len, of_prompt))
    node = {n: p * most + i for p, own in enumerate(of_prompt) for i, n in enumerate(own)}
    replies = _Depth([()] * (count * most), [len(p) for p in work.prompts for _ in range(most)])
    for number, tokens in enumerate(work.completions):
        replies.segments[node[number]] = tokens[:-1]  # the last one predicts nothing
    shared = shared_beginning(work.prompts)
    depths = [_Depth([prompt[shared:] for prompt in work.prompts], [shared] * count)]
    if shared:
        depths.insert(0, _Depth([work.prompts[0][:shared]], [0]))
    if any(replies.segments):
        depths.append(replies)
    hidden, first = _through_tree(body, depths, device=work.device)
    places: list[int] = []
    for number, (owner, tokens) in enumerate(zip(work.owner, work.completions, strict=True)):
        rest = first(int(shared > 0), owner)
        places.append(rest + len(work.prompts[owner]) - shared - 1)
        if len(tokens) > 1:
            begin = first(len(depths) - 1, node[number])
            places += range(begin, begin + len(tokens) - 1)
    return _pick(hidden, torch.tensor(places, device=work.device))


def _through_tree(
    body: Any, depths: Sequence[_Depth], *, device: torch.device
) -> tuple[Tensor, Callable[[int, int], int]]:
    """Return the hidden states (B, T, H), and what tells the place of a segment's first token.

    The place is counted over all rows; the segment is named by its depth and number.
    """
    attend_by_tree(body)
    rows = len(depths[0].segments)
    padded = [_padded(depth.segments, device) for depth in depths]  # (n, w) each
    tree = tuple(
        Level(len(ids) // rows, ids.shape[1], is_padded=not mask.all()) for ids, mask in padded
    )
    positions = [
        torch.tensor(depth.begins, device=device)[:, None]
        + torch.arange(level.width, device=device)
        for depth, level in zip(depths, tree, strict=True)
    ]

    def beside(parts: Iterable[Tensor]) -> Tensor:
        return torch.cat([part.view(rows, -1) for part in parts], dim=1)  # (B, T)

    hidden: Tensor = body(
        input_ids=beside(ids for ids, _ in padded),
        attention_mask=beside(mask for _, mask in padded).bool()[:, None, None],
        position_ids=beside(positions),
        use_cache=False,
        tree=tree,
    ).last_hidden_state
    width = hidden.shape[1]

    def first(depth: int, number: int) -> int:
        row, node = divmod(number, tree[depth].nodes)
        before = sum(level.size for level in tree[:depth])
        return row * width + before + node * tree[depth].width

    return hidden, first


def _packed(body: Any, work: _Work) -> Tensor:
    """Return the hidden states that predict the completions' tokens, row by row: (N, H)."""
    dtype = next(body.parameters()).dtype
    return _in_rows(body, work, mask=lambda segment: score_mask(segment, dtype))


def _flex(body: Any, work: _Work) -> Tensor:
    """Return the same, under FlexAttention."""
    if work.device.type == "cpu" and torch.is_grad_enabled():
        raise ConfigError("FlexAttention has no gradient on a CPU; use prefix_form='packed' there")
    attend_by_blocks(body)
    return _in_rows(body, work, mask=block_mask)


def _in_rows(body: Any, work: _Work, *, mask: Callable[[Tensor], Any]) -> Tensor:
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
        _padded(lists, work.device)[0] for lists in (ids, positions, segments)
    )  # (P, L)
    hidden = body(
        input_ids=padded, attention_mask=mask(segment), position_ids=position, use_cache=False
    ).last_hidden_state  # (P, L, H)
    width = hidden.shape[1]
    flat = torch.tensor([row * width + place for row, place in sources], device=work.device)
    return _pick(hidden, flat)


def _pick(states: Tensor, places: Tensor) -> Tensor:
    """Return the states (P, S, H) at places counted over all rows: (N, H).

    By index_select: indexing with a tensor adds the gradients of a state that is picked twice in
    whatever order the threads come to them, so that two runs would differ in the last bit.
    """
    return states.flatten(0, 1).index_select(0, places)


_FORMS: dict[PrefixForm, Callable[[Any, _Work], Tensor]] = {
    "tree": _tree,
    "cached": _cached,
    "packed": _packed,
    "flex": _flex,
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


def _padded(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Pad ids on the right; return them and their mask (1 on real ids), both int64.

    Padding on the right leaves no query without a key to attend to; such a row is NaN in some
    attention kernels.
    """
    width = max(map(len, rows))
    ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    return ids.to(device), mask.to(device)
