"""The tree form of the shared prompt: one row for the common beginning, its ends, and rollouts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from trainer.prefix_work import Work, pad_rows, pick
from trainer.tree_attention import Level, attend_by_tree, shared_beginning


class _Depth(NamedTuple):
    """Segments of ids that stand at one depth of a tree, and the position each begins at."""

    segments: list[Sequence[int]]
    begins: list[int]


def tree_form(body: Any, work: Work) -> Tensor:
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
    return pick(hidden, torch.tensor(places, device=work.device))


def _through_tree(
    body: Any, depths: Sequence[_Depth], *, device: torch.device
) -> tuple[Tensor, Callable[[int, int], int]]:
    """Return the hidden states (B, T, H), and what tells the place of a segment's first token.

    The place is counted over all rows; the segment is named by its depth and number.
    """
    attend_by_tree(body)
    rows = len(depths[0].segments)
    padded = [pad_rows(depth.segments, device) for depth in depths]  # (n, w) each
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
