"""Tool-using agents that learn from their own traffic: serve, log, label, train, gate, swap."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tooln1_agent.agent import Agent
    from tooln1_agent.engines.scripted import ScriptedEngine
    from tooln1_agent.limits import Limits
    from tooln1_agent.messages import Message, Sampling
    from tooln1_agent.replay.store import ReplayStore
    from tooln1_agent.run_events import RunResult

__all__ = ["Agent", "Limits", "Message", "ReplayStore", "RunResult", "Sampling", "ScriptedEngine"]

_HOME = {
    "Agent": "agent",
    "Limits": "limits",
    "Message": "messages",
    "ReplayStore": "replay.store",
    "RunResult": "run_events",
    "Sampling": "messages",
    "ScriptedEngine": "engines.scripted",
}


def __getattr__(name: str) -> Any:
    """Import a name at its first use, so that using one part does not load the others."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    """List the names that can be imported."""
    return sorted([*globals(), *__all__])
