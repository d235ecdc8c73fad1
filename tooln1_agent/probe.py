"""What an adapter computes for one fixed text, as its trainer saw it.

The figures travel with the weights, under the same content hash. An engine that has loaded the
adapter computes them again: so what is served is what was trained, and not the base model, another
version or a misread directory.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from tooln1_agent.durable import write_whole
from tooln1_agent.errors import AdapterError

log = logging.getLogger("tooln1_agent.probe")

FILE = "probe.json"

TOLERANCE = 0.1
"""Nats that the log-probs may differ by, on average over the tokens."""
_ROUNDING = 0.03
"""Of which so many are put down to rounding, however little the adapter changes."""


class Probe(BaseModel):
    """A prompt, a reply to it, and the log-probs of the reply's tokens in nats."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    """With the adapter, under the plain model (temperature 1)."""
    base_logprobs: tuple[float, ...]
    """The same of the base model alone."""

    @model_validator(mode="after")
    def _one_for_each_token(self) -> Self:
        expected = len(self.completion_ids)
        if not expected == len(self.logprobs) == len(self.base_logprobs) > 0:
            raise ValueError(f"a reply of {expected} tokens needs as many log-probs of each kind")
        return self

    @property
    def limit(self) -> float:
        """How far off the figures may be: always nearer to the adapter's than to the base's."""
        changed = mean_gap(self.logprobs, self.base_logprobs)
        return min(TOLERANCE, max(_ROUNDING, changed / 2))

    def check(self, served: Sequence[float]) -> None:
        """Raise AdapterError unless the log-probs of an engine are those of the trainer."""
        off = mean_gap(served, self.logprobs)
        if not off <= self.limit:  # NaN is no figure either
            from_base = mean_gap(served, self.base_logprobs)
            raise AdapterError(
                f"what is served is not what was trained: log-probs of the probe are {off:.3f} "
                f"nats off the trainer's, {self.limit:.3f} are allowed; from the base model alone "
                f"they are {from_base:.3f} away"
            )

    def write(self, directory: Path) -> None:
        """Keep the probe beside the weights."""
        write_whole(directory / FILE, self.model_dump_json())


def read_probe(directory: Path) -> Probe | None:
    """Return the probe of an adapter; None where its trainer left none.

    Raises:
        AdapterError: there is one, but it cannot be read.
    """
    path = directory / FILE
    if not path.exists():
        log.info("%s has no %s; what is served is not compared", directory.name, FILE)
        return None
    try:
        return Probe.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise AdapterError(
            f"{str(path)!r} cannot be read: {error}; train the adapter again"
        ) from error


def mean_gap(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the mean absolute difference of two rows of figures of one length."""
    return sum(abs(a - b) for a, b in zip(one, other, strict=True)) / len(one)
