"""A vLLM server that somebody else runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RunningServer:
    """An address; whether anybody answers there shows when it is asked."""

    root: str
    """Without "/v1"."""
    api_key: str | None = None

    def check(self) -> None:
        """Do nothing: nothing is known beforehand."""

    async def start(self) -> None:
        """Do nothing: it runs or it does not."""

    async def aclose(self) -> None:
        """Do nothing: it is not ours to stop."""
