"""Tool specs and message prefixes, stored once under a hash of their exact text.

The hash is over the text as it was, keys in their order: two specs that differ only in the order
of their keys have one fingerprint but render to different prompts, so they are kept apart.
Messages form a tree: a message is stored under the hash of its parent's hash and its own text, and
a conversation is named by its last message.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

from tool_registry.tool import ToolSpec
from tooln1_agent.messages import Message
from tooln1_agent.replay.database import Connection
from tooln1_agent.replay.rows import body_of, content_hash, read_message, to_json

CHAIN = """
WITH RECURSIVE chain(parent, body, depth) AS (
    SELECT parent, body, 0 FROM messages WHERE id = ?
    UNION ALL
    SELECT m.parent, m.body, depth + 1 FROM messages m JOIN chain ON m.id = chain.parent
)
SELECT body FROM chain ORDER BY depth DESC
"""


def put_messages(db: sqlite3.Connection, messages: Sequence[Message]) -> int | None:
    """Store a conversation; return the id of its last message, None if there is none."""
    bodies = [body_of(message) for message in messages]
    hashes = [b""]
    for body in bodies:
        hashes.append(content_hash(hashes[-1], body.encode()))
    last: int | None = None
    known = 0
    for index in range(len(bodies), 0, -1):
        row = db.execute("SELECT id FROM messages WHERE hash = ?", (hashes[index],)).fetchone()
        if row is not None:
            last, known = row[0], index
            break
    for index in range(known, len(bodies)):
        last = db.execute(
            "INSERT INTO messages(hash, parent, body) VALUES (?, ?, ?)",
            (hashes[index + 1], last, bodies[index]),
        ).lastrowid
    return last


def get_messages(db: Connection, last: int | None) -> tuple[Message, ...]:
    """Return the conversation that ends with the message of that id."""
    if last is None:
        return ()
    return tuple(read_message(body) for (body,) in db.read(CHAIN, (last,)))


def put_tools(db: sqlite3.Connection, tools: Sequence[ToolSpec]) -> int:
    """Store a list of tools, in its order; return the id of the list."""
    bodies = [body_of(spec) for spec in tools]
    hashes = [content_hash(body.encode()) for body in bodies]
    whole = content_hash(*hashes)
    row = db.execute("SELECT id FROM toolsets WHERE hash = ?", (whole,)).fetchone()
    if row is not None:
        return int(row[0])
    ids = []
    for spec, body, digest in zip(tools, bodies, hashes, strict=True):
        db.execute(
            "INSERT OR IGNORE INTO tools(hash, name, body) VALUES (?, ?, ?)",
            (digest, spec.name, body),
        )
        ids.append(db.execute("SELECT id FROM tools WHERE hash = ?", (digest,)).fetchone()[0])
    insert = "INSERT INTO toolsets(hash, tools) VALUES (?, ?)"
    made = db.execute(insert, (whole, to_json(ids))).lastrowid
    assert made is not None  # an INSERT that succeeded has a row id
    return made


def get_tools(db: Connection, toolset: int) -> tuple[ToolSpec, ...]:
    """Return the list of tools of that id."""
    rows = db.read(
        "SELECT t.body FROM toolsets s, json_each(s.tools) e JOIN tools t ON t.id = e.value "
        "WHERE s.id = ? ORDER BY e.key",
        (toolset,),
    )
    return tuple(ToolSpec.model_validate(json.loads(body)) for (body,) in rows)
