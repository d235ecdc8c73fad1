"""Writes what happens: interactions, turns and labels, each within the caller's transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import datetime, timedelta

from tool_registry.calls import ToolResult
from tooln1_agent.errors import QuotaUsed, StoreError, UnknownRecord
from tooln1_agent.examples import LabelEvent
from tooln1_agent.instants import in_utc
from tooln1_agent.replay.contents import put_messages, put_tools
from tooln1_agent.replay.labels import QUOTA_SOURCES, LabelPolicy
from tooln1_agent.replay.rows import TURN_COLUMNS, label_json, results_json, to_json, turn_row
from tooln1_agent.transcript import Interaction, Stop, Turn


def insert_interaction(db: sqlite3.Connection, interaction: Interaction) -> None:
    """Write an interaction and the turns it has; raises `StoreError` if its id is taken."""
    taken = db.execute("SELECT 1 FROM interactions WHERE id = ?", (interaction.id,)).fetchone()
    if taken:
        raise StoreError(f"interaction {interaction.id!r} is in the store already")
    row = {
        "id": interaction.id,
        "episode": interaction.episode,
        "agent": interaction.agent,
        "principal": interaction.principal,
        "base_model": interaction.base_model,
        "tokenizer_hash": interaction.tokenizer_hash,
        "prompt_version": interaction.prompt_version,
        "last_message": put_messages(db, interaction.messages),
        "toolset": put_tools(db, interaction.tools),
        "stop": interaction.stop,
        "no_train": interaction.no_train,
        "split_place": interaction.split_place,
        "created_at": instant_text(interaction.created_at),
    }
    seq = db.execute(_INSERT_INTERACTION, row).lastrowid
    assert seq is not None  # an INSERT that succeeded has a row id
    for index, turn in enumerate(interaction.turns):
        _insert_turn(db, seq, interaction.principal, index, turn)


_INSERT_INTERACTION = """
INSERT INTO interactions(
    id, episode, agent, principal, base_model, tokenizer_hash, prompt_version, last_message,
    toolset, stop, no_train, split_place, created_at
) VALUES (
    :id, :episode, :agent, :principal, :base_model, :tokenizer_hash, :prompt_version,
    :last_message, :toolset, :stop, :no_train, :split_place, :created_at
)
"""


def append_turn(db: sqlite3.Connection, interaction_id: str, index: int, turn: Turn) -> None:
    """Write the next turn of an interaction."""
    row = db.execute(
        "SELECT seq, principal, (SELECT count(*) FROM turns WHERE interaction = seq) "
        "FROM interactions WHERE id = ?",
        (interaction_id,),
    ).fetchone()
    if row is None:
        raise unknown_interaction(interaction_id)
    seq, principal, count = row
    if index != count:
        raise StoreError(
            f"turn {index} of interaction {interaction_id!r} cannot be added: "
            f"{count} turns are recorded, so the next is turn {count}"
        )
    _insert_turn(db, seq, principal, index, turn)


def _insert_turn(db: sqlite3.Connection, seq: int, principal: str, index: int, turn: Turn) -> None:
    row = (seq, index, *turn_row(turn))
    db.execute(
        f"INSERT INTO turns(interaction, idx, {TURN_COLUMNS}) "  # noqa: S608 - our own text
        f"VALUES ({','.join('?' * len(row))})",
        row,
    )
    db.executemany(
        "INSERT INTO calls(call_id, principal, interaction, turn, position) VALUES (?,?,?,?,?)",
        [
            (call.id, principal, seq, index, position)
            for position, call in enumerate(turn.reply.calls)
            if call.id
        ],
    )


def update_results(
    db: sqlite3.Connection, interaction_id: str, index: int, results: Sequence[ToolResult]
) -> None:
    """Write what came of the calls of a turn."""
    changed = db.execute(
        "UPDATE turns SET results = ? WHERE idx = ? AND interaction = "
        "(SELECT seq FROM interactions WHERE id = ?)",
        (results_json(results), index, interaction_id),
    ).rowcount
    if not changed:
        raise UnknownRecord(f"there is no turn {index} of interaction {interaction_id!r}")


def update_stop(db: sqlite3.Connection, interaction_id: str, stop: Stop) -> None:
    """Write why an interaction ended."""
    update = "UPDATE interactions SET stop = ? WHERE id = ?"
    if not db.execute(update, (stop, interaction_id)).rowcount:
        raise unknown_interaction(interaction_id)


def insert_label(db: sqlite3.Connection, event: LabelEvent, policy: LabelPolicy) -> None:
    """Append a label that makes sense for its turn; raises `QuotaUsed` past the quota."""
    if event.source in QUOTA_SOURCES:
        _check_quota(db, event, policy.max_labels_per_author_per_day)
    db.execute(
        "INSERT INTO labels(interaction, turn, verdict, source, author, created_at, body) "
        "SELECT seq, ?, ?, ?, ?, ?, ? FROM interactions WHERE id = ?",
        (
            event.turn,
            event.verdict,
            event.source,
            event.author,
            instant_text(event.created_at),
            label_json(event),
            event.interaction,
        ),
    )


def _check_quota(db: sqlite3.Connection, event: LabelEvent, allowed: int) -> None:
    day = event.created_at.replace(hour=0, minute=0, second=0, microsecond=0)
    next_day = day + timedelta(days=1)
    given: int = db.execute(
        "SELECT count(*) FROM labels WHERE author = ? AND created_at >= ? AND created_at < ? "
        "AND source IN (SELECT value FROM json_each(?))",
        (
            event.author,
            instant_text(day),
            instant_text(next_day),
            to_json(sorted(QUOTA_SOURCES)),
        ),
    ).fetchone()[0]
    if given >= allowed:
        raise QuotaUsed(
            f"{event.author!r} has given {given} labels on {day:%Y-%m-%d}, and {allowed} a day "
            "are allowed; more can be given tomorrow (UTC), or with a larger quota",
            retry_after_s=(next_day - event.created_at).total_seconds(),
        )


def instant_text(moment: datetime) -> str:
    """Write a point in time so that texts sort as the times do."""
    return in_utc(moment).isoformat(timespec="microseconds")


def unknown_interaction(interaction_id: str) -> UnknownRecord:
    """Return the error for an id that no interaction has."""
    return UnknownRecord(f"there is no interaction {interaction_id!r} in the replay store")
