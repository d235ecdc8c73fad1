"""Redacts a whole store: messages, turns and labels, wherever a text stands, in one transaction.

A message is stored under a hash of all before it, so those after a changed one move too; a
conversation shared by several requests is rewritten once for all of them.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tooln1_agent.examples import LabelEvent, place_of
from tooln1_agent.redaction import Redactor, without_ids
from tooln1_agent.replay.contents import CHAIN
from tooln1_agent.replay.rows import (
    TURN_COLUMNS,
    body_of,
    content_hash,
    label_json,
    read_message,
    read_turn,
    turn_row,
)


@dataclass(frozen=True, slots=True)
class Redacted:
    """What was changed, and what was not."""

    placeholders: dict[str, str]
    """What stands for each text now."""
    messages: int
    turns: int
    """Turns that lost their ids: they held one of the texts, or were shown it."""
    labels: int
    left_in: dict[str, int]
    """Rows that still hold one of the texts, by place: names and tools are not rewritten."""
    is_erased: bool = True
    """Whether the file was written anew; False while another process reads the old pages."""


def redact_rows(db: sqlite3.Connection, placeholders: dict[str, str]) -> Redacted:
    """Rewrite every row that holds one of the texts."""
    redactor = Redactor(placeholders)
    changed, moved = _changed_messages(db, redactor)
    touched = _freeze_sides(db, redactor, moved)
    _rewrite_messages(db, changed, moved)
    return Redacted(
        placeholders,
        messages=len(changed),
        turns=_rewrite_turns(db, redactor, touched),
        labels=_rewrite_labels(db, redactor),
        left_in=_left_in(db, redactor),
    )


def _changed_messages(
    db: sqlite3.Connection, redactor: Redactor
) -> tuple[dict[int, str], set[int]]:
    """Return new bodies by message, and the messages that stand in or after a changed one."""
    changed: dict[int, str] = {}
    moved: set[int] = set()
    # A message is written after its parent, so its id is larger; merging keeps the smaller one.
    for number, parent, body in db.execute("SELECT id, parent, body FROM messages ORDER BY id"):
        message = read_message(body)
        redacted = redactor.message(message)
        if redacted != message:
            changed[number] = body_of(redacted)
        if number in changed or parent in moved:
            moved.add(number)
    return changed, moved


def _freeze_sides(db: sqlite3.Connection, redactor: Redactor, moved: set[int]) -> set[int]:
    """Keep requests whose text changes on their side of the split; return those shown a text."""
    touched = set()
    rows = db.execute("SELECT seq, last_message, split_place FROM interactions").fetchall()
    for seq, last, place in rows:
        if last not in moved:
            continue
        touched.add(seq)
        messages = [read_message(body) for (body,) in db.execute(CHAIN, (last,))]
        was = place_of(messages)
        if place is None and was != place_of(tuple(map(redactor.message, messages))):
            db.execute("UPDATE interactions SET split_place = ? WHERE seq = ?", (was, seq))
    return touched


def _rewrite_messages(db: sqlite3.Connection, changed: dict[int, str], moved: set[int]) -> None:
    """Write the new bodies and hashes; a message that is there already is pointed to instead."""
    now: dict[int, tuple[int, bytes]] = {}
    for number in sorted(moved):
        query = "SELECT parent, body FROM messages WHERE id = ?"
        parent, body = db.execute(query, (number,)).fetchone()
        parent, before = now.get(parent) or _known_parent(db, parent)
        body = changed.get(number, body)
        digest = content_hash(before, body.encode())
        row = db.execute("SELECT id FROM messages WHERE hash = ?", (digest,)).fetchone()
        if row is None:
            update = "UPDATE messages SET hash = ?, parent = ?, body = ? WHERE id = ?"
            db.execute(update, (digest, parent, body, number))
            now[number] = number, digest
        else:
            update = "UPDATE interactions SET last_message = ? WHERE last_message = ?"
            db.execute(update, (row[0], number))
            now[number] = row[0], digest
    gone = [(number,) for number in sorted(moved, reverse=True) if now[number][0] != number]
    db.executemany("DELETE FROM messages WHERE id = ?", gone)


def _known_parent(db: sqlite3.Connection, parent: int | None) -> tuple[int | None, bytes]:
    if parent is None:
        return None, b""
    found = db.execute("SELECT hash FROM messages WHERE id = ?", (parent,)).fetchone()
    return parent, found[0]


def _rewrite_turns(db: sqlite3.Connection, redactor: Redactor, touched: set[int]) -> int:
    """Rewrite turns, and drop the ids of each that held or was shown one of the texts."""
    count = 0
    shown = set(touched)
    columns = [name.strip() for name in TURN_COLUMNS.split(",")]
    update = f"UPDATE turns SET {', '.join(f'{name} = ?' for name in columns)} "  # noqa: S608
    for seq, index in db.execute("SELECT interaction, idx FROM turns ORDER BY 1, 2").fetchall():
        query = f"SELECT {TURN_COLUMNS} FROM turns WHERE interaction = ? AND idx = ?"  # noqa: S608
        turn = read_turn(db.execute(query, (seq, index)).fetchone())
        redacted = redactor.turn(turn)
        if redacted != turn:
            shown.add(seq)
        if seq in shown:
            row = turn_row(without_ids(redacted))
            db.execute(f"{update} WHERE interaction = ? AND idx = ?", (*row, seq, index))
            count += 1
    return count


def _rewrite_labels(db: sqlite3.Connection, redactor: Redactor) -> int:
    count = 0
    for seq, body in db.execute("SELECT seq, body FROM labels").fetchall():
        event = LabelEvent.model_validate(json.loads(body))
        redacted = redactor.label(event)
        if redacted != event:
            db.execute("UPDATE labels SET body = ? WHERE seq = ?", (label_json(redacted), seq))
            count += 1
    return count


_KEPT = {
    "agent names": "SELECT agent FROM interactions",
    "names of who asked": "SELECT principal FROM interactions",
    "authors of labels": "SELECT author FROM labels",
    "tools": "SELECT body FROM tools",
    "tools that labels renew": "SELECT json_extract(body, '$.renewed') FROM labels",
}


def _left_in(db: sqlite3.Connection, redactor: Redactor) -> dict[str, int]:
    left = Counter[str]()
    for place, query in _KEPT.items():
        left[place] = sum(redactor.text(text) != text for text in _texts(db, query))
    return {place: count for place, count in left.items() if count}


def _texts(db: sqlite3.Connection, query: str) -> Iterator[str]:
    rows: Any = db.execute(query)
    return (text for (text,) in rows if text)
