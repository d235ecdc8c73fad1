"""Which conversation a client-mode request goes on with: that of the calls it brings results for.

Only calls that we minted for the same principal count, and only if the history gives them as they
were handed out. A client may edit its history (say, a person changed the arguments); such a
history is served like any other, but begins an episode of its own, so that nothing is learned
from calls that the model never made.
"""

from __future__ import annotations

from collections.abc import Sequence

from tool_registry.calls import ToolCall
from tooln1_agent.equality import canonical_call
from tooln1_agent.messages import Message
from tooln1_agent.replay.store import ReplayStore


def episode_of(store: ReplayStore, messages: Sequence[Message], *, principal: str) -> str | None:
    """Return the episode that the history's last call of ours belongs to, or None for a new one."""
    episode = None
    for call in (call for message in reversed(messages) for call in message.tool_calls):
        minted = store.call_of(call.id, principal=principal)
        if minted is None:
            continue
        if not _same(call, minted.call):
            return None
        episode = episode or minted.episode
    return episode


def _same(given: ToolCall, minted: ToolCall) -> bool:
    """Compare by value: a client's JSON library may have written 2.0 as 2."""
    return canonical_call(given, {}) == canonical_call(minted, {})
