"""What the routes of one server share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tooln1_agent.agent import Agent
from tooln1_agent.config import ServeConfig
from tooln1_agent.replay.store import ReplayStore
from tooln1_agent.server.auth import Keyring
from tooln1_agent.server.live import AdapterPointer
from tooln1_agent.server.tracked import TrackedEngine
from tooln1_agent.telemetry import Metrics


@dataclass(frozen=True, slots=True)
class Service:
    """The parts of a running server."""

    agent: Agent
    engine: TrackedEngine
    store: ReplayStore
    pointer: AdapterPointer
    keys: Keyring
    metrics: Metrics
    config: ServeConfig
    deps: Any = None
    """Handed to the agent's tools in their `RunContext`."""

    @property
    def served_names(self) -> tuple[str, ...]:
        """The names that a request's `model` may give, the agent's first."""
        names = (self.agent.name, self.engine.info.base_model, *self.config.served_names)
        return tuple(dict.fromkeys(name for name in names if name))
