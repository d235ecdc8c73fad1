"""Log-probs of tokens from hidden states, without the logits of more than a chunk at a time.

A token's log-prob is a number, so its derivative by the hidden state is one vector: the forward
pass works it out beside the value, and neither logits nor probabilities are kept for the backward
pass or computed twice. Of N tokens stay N vectors of the hidden size.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from trainer.errors import UnsupportedModel

_CHUNK_ELEMENTS = 1 << 22
"""Most logits at a time: 16 MiB in float32."""


def token_logprobs(
    hidden: Tensor, ids: Tensor, *, weight: Tensor, temperature: float = 1.0
) -> Tensor:
    """Return the log-prob of each id under the hidden state that predicts it, in nats: (N,).

    Args:
        hidden: (N, H), of the last layer, normed.
        ids: (N,).
        weight: (V, H), of the output layer.
        temperature: the logits are divided by it.
    """
    size = max(1, _CHUNK_ELEMENTS // weight.shape[0])
    hidden = hidden / temperature
    chunks = zip(torch.split(hidden, size), torch.split(ids, size), strict=True)
    if weight.requires_grad:
        return torch.cat([checkpoint(_plain, *c, weight, use_reentrant=False) for c in chunks])
    return torch.cat([_Frozen.apply(*c, weight) for c in chunks])  # type: ignore[no-untyped-call]


def _plain(states: Tensor, ids: Tensor, weight: Tensor) -> Tensor:
    """The same where the output layer learns too, and needs the logits for its own gradient."""
    logprobs = (states @ weight.T).float().log_softmax(dim=1)
    return logprobs.gather(1, ids[:, None]).squeeze(1)


class _Frozen(torch.autograd.Function):
    """One chunk, under an output layer that does not learn."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, ids: Tensor, weight: Tensor) -> Tensor:
        logprobs = (states @ weight.T).float().log_softmax(dim=1)  # (n, V)
        chosen = logprobs.gather(1, ids[:, None]).squeeze(1)
        if ctx.needs_input_grad[0]:
            mean = logprobs.exp_().to(weight.dtype) @ weight  # (n, H)
            ctx.save_for_backward(weight[ids] - mean)  # W[id] - sum_v p_v W[v]
        return chosen

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (slope,) = ctx.saved_tensors
        return grads[0][:, None] * slope, None, None


@torch.no_grad()
def check_head(model: Any) -> None:
    """Raise UnsupportedModel where logits are more than the output layer on hidden states.

    Some families cap or scale them; log-probs would be wrong without an error.

    Args:
        model: a causal language model of transformers.
    """
    ids = torch.arange(2, device=next(model.parameters()).device)[None]
    expected = model(input_ids=ids, use_cache=False).logits
    hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
    plain = hidden @ model.get_output_embeddings().weight.T
    if plain.shape != expected.shape or not torch.allclose(plain, expected, rtol=1e-2, atol=1e-2):
        raise UnsupportedModel(
            f"{type(model).__name__} does more to its logits than one linear layer without bias, "
            "and its log-probs would come out wrong; use a model of the Qwen, Llama or Mistral "
            "families"
        )
