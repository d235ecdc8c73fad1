"""Queries over conversations: which there are, which failed, which a call id belongs to."""

from __future__ import annotations

import json
from typing import NamedTuple

from tool_registry.calls import ToolCall
from tooln1_agent.replay.database import Connection


class MintedCall(NamedTuple):
    """A call whose id we minted, and where it was made."""

    call: ToolCall
    interaction: str
    turn: int
    episode: str


_FAILED = """
SELECT i.episode FROM interactions i JOIN turns t ON t.interaction = i.seq
GROUP BY i.episode
HAVING count(*) > 1 AND max(
    json_array_length(t.reply, '$.faults') > 0
    OR EXISTS (SELECT 1 FROM json_each(t.results) r WHERE json_extract(r.value, '$.ok') = 0)
    OR (t.results = '[]' AND json_array_length(t.reply, '$.calls') > 0)
)
ORDER BY min(i.seq)
"""


def read_episodes(db: Connection) -> tuple[str, ...]:
    """Return the ids of all conversations, in the order they began."""
    found = db.read("SELECT episode FROM interactions GROUP BY episode ORDER BY min(seq)")
    return tuple(row[0] for row in found)


def read_failed_episodes(db: Connection) -> tuple[str, ...]:
    """Return those with several turns of which one failed, or may have.

    What a client's own tools returned has to be read to tell, so those may be among them.
    """
    return tuple(row[0] for row in db.read(_FAILED))


def read_call(db: Connection, call_id: str, *, principal: str) -> MintedCall | None:
    """Return the call that was handed to this principal under this id; None if none was."""
    rows = db.read(
        "SELECT t.reply, c.position, i.id, c.turn, i.episode FROM calls c "
        "JOIN interactions i ON i.seq = c.interaction "
        "JOIN turns t ON t.interaction = c.interaction AND t.idx = c.turn "
        "WHERE c.call_id = ? AND c.principal = ? ORDER BY c.interaction DESC LIMIT 1",
        (call_id, principal),
    )
    if not rows:
        return None
    reply, position, interaction, turn, episode = rows[0]
    call = ToolCall.model_validate(json.loads(reply)["calls"][position])
    return MintedCall(call, interaction, turn, episode)
