"""How one token is drawn for each row of a batch: greedy, tempered, top-k, nucleus."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, unflatten
from torch.nn.functional import pad

from tooln1_agent.messages import Sampling

_BLOCK = 64


class Drawn(NamedTuple):
    """What was drawn, a list entry for each row."""

    tokens: list[int]
    logprobs: list[float]
    """In nats, under the plain model."""
    sampling_logprobs: list[float]
    """In nats, under what was drawn from: after temperature, top-k and top-p; 0.0 if greedy."""


def draw(logits: Tensor, samplings: Sequence[Sampling], points: Sequence[float]) -> Drawn:
    """Draw one token for each row, by its own settings.

    Args:
        logits: (B, V), float32.
        points: in [0, 1); decides the row's token, and is not read where the row is greedy.
    """
    tokens = logits.argmax(-1)  # (B,)
    told = torch.zeros(len(tokens), dtype=torch.float64, device=logits.device)
    hot = [row for row, sampling in enumerate(samplings) if sampling.temperature > 0]
    if hot:
        index = torch.tensor(hot, device=logits.device)
        probs = _probabilities(logits[index], [samplings[row] for row in hot])
        at = torch.tensor([points[row] for row in hot], dtype=torch.float64, device=logits.device)
        drawn, whole = tokens_at(probs, at)
        tokens[index] = drawn
        told[index] = (probs.gather(-1, drawn.unsqueeze(-1)).squeeze(-1) / whole).log()
    logprobs = logits.gather(-1, tokens.unsqueeze(-1)).squeeze(-1) - logits.logsumexp(-1)
    return Drawn(tokens.tolist(), logprobs.tolist(), told.float().tolist())


def tokens_at(probs: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Return the token at which each row's running sum exceeds its point, and the row's sum: (B,).

    It is never a token of probability 0. The sum runs over blocks and then within one: over the
    whole vocabulary it takes as long as a layer of a small model.

    Args:
        probs: (B, V), of any positive sum.
        points: (B,), float64, in [0, 1): parts of that sum.
    """
    V = probs.shape[-1]
    blocks = unflatten(pad(probs, (0, -V % _BLOCK)), -1, (-1, _BLOCK))  # (B, n, _BLOCK)
    sums = blocks.sum(-1, dtype=torch.float64)
    ends = sums.cumsum(-1)
    point = (points * ends[:, -1]).unsqueeze(-1)  # (B, 1)
    # right=True finds the first sum above the point. The clamp: where there are no numbers.
    block = torch.searchsorted(ends, point, right=True).clamp(max=blocks.shape[1] - 1)
    chosen = blocks.take_along_dim(block.unsqueeze(-1), dim=1).squeeze(1)  # (B, _BLOCK)
    inner = chosen.cumsum(-1, dtype=torch.float64)
    # What is left of the point may round to outside of the block.
    left = (point - (ends - sums).gather(-1, block)).clamp(min=0.0)
    highest = inner[:, -1:].nextafter(torch.zeros_like(left))
    place = torch.searchsorted(inner, left.minimum(highest), right=True)
    return (block * _BLOCK + place).squeeze(-1).clamp(max=V - 1), ends[:, -1]


def _probabilities(logits: Tensor, samplings: Sequence[Sampling]) -> Tensor:
    """Return what each row draws from, (B, V), not normalised where tokens are left out.

    First the temperature, then the `top_k` likeliest, then of these the nucleus.
    """
    temperature = logits.new_tensor([sampling.temperature for sampling in samplings])
    scaled = logits / temperature.clamp(min=1e-4).unsqueeze(-1)
    probs = scaled.softmax(-1)
    if all(sampling.top_p == 1 and sampling.top_k is None for sampling in samplings):
        return probs
    V = probs.shape[-1]
    ordered, places = probs.double().sort(stable=True, dim=-1, descending=True)
    top_k = torch.tensor([min(s.top_k or V, V) for s in samplings], device=logits.device)
    ordered.masked_fill_(torch.arange(V, device=logits.device) >= top_k.unsqueeze(-1), 0.0)
    ordered /= ordered.sum(-1, keepdim=True)
    before = ordered.cumsum(-1) - ordered
    top_p = ordered.new_tensor([sampling.top_p for sampling in samplings])
    is_whole = (top_p == 1).unsqueeze(-1)  # rounding must not cost the last tokens
    ordered.masked_fill_((before >= top_p.unsqueeze(-1)) & ~is_whole, 0.0)
    return torch.zeros_like(ordered).scatter(-1, places, ordered)
