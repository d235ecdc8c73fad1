"""What tokens of a packed row may look at: the prompt, and what is before them in their completion.

As numbers that are added to the scores of every pair of tokens, or for FlexAttention, which never
computes blocks of pairs that are hidden.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.flex_attention import flex_attention_forward
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

_FLEX = "sdpa_or_flex"


def score_mask(segment: Tensor, dtype: torch.dtype) -> Tensor:
    """Return what is added to attention scores: 0 where a token may look, else -inf: (P, 1, L, L).

    Floats, as eager attention adds a boolean mask to the scores: True counts 1, and nothing is
    hidden. Padding, at the end of the row, sees the prompt: a softmax over nothing is NaN, and its
    gradient spoils every weight.

    Args:
        segment: (P, L): 0 in the prompt and on padding, a number of its own in each completion.
    """
    query, key = segment[:, :, None], segment[:, None, :]
    visible = ((key == 0) | (key == query)).tril()
    hidden = torch.zeros(visible.shape, dtype=dtype, device=segment.device)
    return hidden.masked_fill_(~visible, float("-inf"))[:, None]


def block_mask(segment: Tensor) -> BlockMask:
    """Return the same for FlexAttention."""

    def visible(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        of = segment[row, key]
        return (query >= key) & ((of == 0) | (of == segment[row, query]))

    (rows, width), device = segment.shape, segment.device
    return create_block_mask(visible, rows, None, width, width, device=str(device))


def attend_by_blocks(body: Any) -> None:
    """Let a model of transformers take a `block_mask`; with other masks it computes as before.

    For good: a checkpointed layer runs again in the backward pass, when a setting that was made for
    the forward pass alone would be gone.
    """
    if body.config._attn_implementation != _FLEX:
        body.set_attn_implementation(_FLEX)


def _sdpa_or_flex(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, **options: Any
) -> tuple[Tensor, Tensor | None]:
    attend: Callable[..., tuple[Tensor, Tensor | None]] = sdpa_attention_forward
    if isinstance(attention_mask, BlockMask):
        attend = flex_attention_forward
        # Autocast leaves queries and keys in float32 after their rotation, and mends it for sdpa.
        query, key = query.to(value.dtype), key.to(value.dtype)
    return attend(module, query, key, value, attention_mask, **options)


AttentionInterface.register(_FLEX, _sdpa_or_flex)
AttentionMaskInterface.register(_FLEX, sdpa_mask)
