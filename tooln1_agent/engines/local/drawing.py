"""How one token is drawn for each row of a batch: greedy, tempered, top-k, nucleus."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from tooln1_agent.messages import Sampling


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
        cdf = probs.cumsum(-1, dtype=torch.float64)
        point = cdf.new_tensor([points[row] for row in hot]) * cdf[:, -1]
        # right=True finds the first token whose cdf is above the point: never one of probability 0.
        drawn = torch.searchsorted(cdf, point.unsqueeze(-1), right=True)
        drawn = drawn.clamp(max=logits.shape[-1] - 1)  # where there are no numbers
        tokens[index] = drawn.squeeze(-1)
        told[index] = (probs.gather(-1, drawn).squeeze(-1) / cdf[:, -1]).log()
    logprobs = logits.gather(-1, tokens.unsqueeze(-1)).squeeze(-1) - logits.logsumexp(-1)
    return Drawn(tokens.tolist(), logprobs.tolist(), told.float().tolist())


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
