"""From logits to samples: the rows of a running batch, and the tokens drawn for them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal

from torch import Tensor

from tooln1_agent.engines.local.attention import supports
from tooln1_agent.engines.local.batch import Batch, SharedBatch
from tooln1_agent.engines.local.drawing import draw
from tooln1_agent.engines.local.plain import PlainBatch
from tooln1_agent.engines.local.prefill import Prefill
from tooln1_agent.engines.local.segments import Prefixes
from tooln1_agent.messages import Sampling


@dataclass(frozen=True, slots=True)
class Sample:
    """What one row sampled."""

    ids: tuple[int, ...]
    """With the closing token, unless the row ended otherwise."""
    logprobs: tuple[float, ...]
    """For each id, in nats, under the plain model (temperature 1, nothing left out)."""
    finish_reason: Literal["stop", "length"]
    sampling_logprobs: tuple[float, ...] | None = None
    """For each id, in nats, under what it was drawn from; None where that is the plain model."""


@dataclass(slots=True, eq=False)
class Row:
    """One completion while it grows."""

    sampling: Sampling
    """`seed` and `stop` are the caller's business."""
    random: Random
    """Draws for this row alone, one number a token."""
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    sampling_logprobs: list[float] = field(default_factory=list)

    def has_ended(self, end_ids: Collection[int]) -> bool:
        """Whether the newest token was one that ends a reply, or the last that is allowed."""
        return self.ids[-1] in end_ids or len(self.ids) >= self.sampling.max_tokens

    def sample(self, finish_reason: Literal["stop", "length"]) -> Sample:
        """Return what was sampled so far."""
        told = None if self.sampling.is_plain else tuple(self.sampling_logprobs)
        return Sample(tuple(self.ids), tuple(self.logprobs), finish_reason, told)


class Decoder:
    """The rows of one model that sample together. Every row gets a token at each step."""

    def __init__(
        self, config: Any, *, prefixes: Prefixes | None = None, adapter: str | None = None
    ) -> None:
        """Begin without rows.

        Args:
            config: of the model; its kind of attention decides what rows may share.
            prefixes: what is known of prompts already, and learns more; by default nothing.
        """
        self.rows: list[Row] = []
        self._batch: Batch = (
            SharedBatch(config, prefixes=prefixes or Prefixes(), adapter=adapter)
            if supports(config)
            else PlainBatch(config)
        )

    @property
    def prompt_tokens(self) -> int:
        """Tokens of prompts that are kept for these rows alone, beside the prefixes."""
        return self._batch.prompt_tokens

    def begin(self, prompt_ids: Sequence[int]) -> Prefill:
        """Return a prompt ready to be computed, as far as it is not known."""
        return self._batch.begin(tuple(prompt_ids))

    def join(self, prefill: Prefill, rows: Sequence[Row]) -> None:
        """Add rows after a prompt that is computed; each gets its first token."""
        assert prefill.logits is not None
        _take(rows, prefill.logits.expand(len(rows), -1))
        for row in rows:
            self._batch.join(prefill)
            self.rows.append(row)

    def leave(self, row: Row) -> None:
        """Remove a row."""
        place = self.rows.index(row)
        self._batch.leave(place)
        self.rows[place] = self.rows[-1]
        self.rows.pop()

    def step(self, model: Any) -> None:
        """Give each row its next token."""
        _take(self.rows, self._batch.step(model, [row.ids[-1] for row in self.rows]))


def _take(rows: Sequence[Row], logits: Tensor) -> None:
    """Draw a token for each row and note it.

    Args:
        logits: (B, V), float32.
    """
    points = [row.random.random() for row in rows]
    drawn = draw(logits, [row.sampling for row in rows], points)
    for row, token, logprob, told in zip(rows, *drawn, strict=True):
        row.ids.append(token)
        row.logprobs.append(logprob)
        row.sampling_logprobs.append(told)
