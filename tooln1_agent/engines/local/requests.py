"""What the scheduler is asked for, who hears of it, and how much is taken on at a time."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass
from typing import Protocol

from tooln1_agent.engines.local.decoder import Sample
from tooln1_agent.errors import ConfigError, EngineError
from tooln1_agent.messages import Sampling

log = logging.getLogger("tooln1_agent.engines")


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is taken on at a time."""

    max_batch: int = 32
    """Requests that are computed together; more wait."""
    queue_limit: int = 64
    """Requests that may wait; one more is refused with `EngineBusy`."""
    token_budget: int = 65_536
    """Tokens whose keys and values are kept: of prompts, and what requests may sample."""
    prefill_tokens: int = 512
    """Prompt tokens computed between two tokens of those who sample."""

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")


class Listener(Protocol):
    """Hears what becomes of a request; may raise, which ends that request alone."""

    def on_token(self, token: int) -> bool:
        """Take a token; return whether the completion ends with it (a stop string, say)."""
        ...

    def on_end(self, sample: Sample) -> None: ...

    def on_error(self, error: EngineError) -> None: ...


@dataclass(slots=True, eq=False)
class Request:
    """One completion that somebody waits for."""

    prompt_ids: tuple[int, ...]
    sampling: Sampling
    adapter: str | None
    listener: Listener
    is_cancelled: bool = False

    @property
    def tokens(self) -> int:
        """The most tokens that it may come to."""
        return len(self.prompt_ids) + self.sampling.max_tokens


def fail(request: Request, error: Exception) -> None:
    """Tell a request what went wrong, and the operator where, if nobody foresaw it."""
    if not isinstance(error, EngineError):
        log.error("a request failed in the embedded engine", exc_info=error)
        error = EngineError(f"the embedded engine failed: {type(error).__name__}: {error}")
    with contextlib.suppress(Exception):  # who cannot hear it harms nobody
        request.listener.on_error(error)
