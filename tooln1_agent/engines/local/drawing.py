"""How one token is drawn for each row of a batch: greedy, tempered, nucleus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class DrawSettings:
    """Settings of the rows of a batch; rows of one batch may differ."""

    temperature: Tensor
    """(B,); 0 is greedy."""
    top_p: Tensor
    """(B,)"""
    own: tuple[torch.Generator | None, ...]
    """For a row with a seed of its own its generator, so that its neighbours do not matter."""

    def select(self, kept: Sequence[int]) -> DrawSettings:
        """Return the settings of the kept rows."""
        index = torch.tensor(kept, device=self.temperature.device)
        own = tuple(self.own[row] for row in kept)
        return DrawSettings(self.temperature[index], self.top_p[index], own)


def draw(logits: Tensor, settings: DrawSettings, generator: torch.Generator) -> Tensor:
    """Return one token id for each row, (B,).

    Args:
        logits: (B, V), float32.
    """
    greedy = settings.temperature == 0
    best = logits.argmax(-1)
    if bool(greedy.all()):
        return best
    scaled = logits / settings.temperature.clamp(min=1e-4).unsqueeze(-1)  # (B, V)
    probs = scaled.softmax(-1, dtype=torch.float64)
    if bool((settings.top_p < 1).any()):
        probs = _nucleus(probs, settings.top_p)
    cdf = probs.cumsum(-1)
    point = _uniform(settings, generator).to(cdf) * cdf[:, -1]
    # right=True finds the first token whose cdf is above the point: never one of probability 0.
    drawn = torch.searchsorted(cdf, point.unsqueeze(-1), right=True).squeeze(-1)
    return torch.where(greedy, best, drawn.clamp(max=logits.shape[-1] - 1))


def _uniform(settings: DrawSettings, generator: torch.Generator) -> Tensor:
    """Return a number in [0, 1) for each row, (B,)."""
    numbers = torch.rand(len(settings.own), generator=generator, device=generator.device)
    for row, own in enumerate(settings.own):
        if own is not None:
            numbers[row] = torch.rand((), generator=own, device=own.device)
    return numbers


def _nucleus(probs: Tensor, top_p: Tensor) -> Tensor:
    """Keep in each row the likeliest tokens that together reach `top_p`; zero the rest, (B, V)."""
    ordered, places = probs.sort(-1, descending=True)
    before = ordered.cumsum(-1) - ordered
    ordered = ordered.masked_fill(before >= top_p.unsqueeze(-1), 0.0)
    return torch.zeros_like(probs).scatter(-1, places, ordered)
