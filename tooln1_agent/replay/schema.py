"""The tables of the replay store and how an older store becomes a current one.

Migrations are numbered by their place in `MIGRATIONS`; the number of those that a file has been
through stands in SQLite's `user_version`, next to our `application_id`, both in the file's header
and so part of the transaction that migrates. A released migration is never edited: append one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from sqlite_utils import Database

from tooln1_agent.errors import StoreError, StoreTooNew

APPLICATION_ID = 0x746E3161
"""Marks a SQLite file as a replay store ("tn1a")."""


def _create(db: Database) -> None:
    """Create the first version of the store."""
    _create_contents(db)
    db["interactions"].create(
        {
            "seq": int,
            "id": str,
            "episode": str,
            "agent": str,
            "principal": str,
            "base_model": str,
            "tokenizer_hash": str,
            "prompt_version": str,
            "last_message": int,
            "toolset": int,
            "stop": str,
            "no_train": int,
            "created_at": str,
        },
        pk="seq",
        not_null={"id", "episode", "toolset", "no_train", "created_at"},
        foreign_keys=[("last_message", "messages", "id"), ("toolset", "toolsets", "id")],
    )
    db["interactions"].create_index(["id"], unique=True)
    db["interactions"].create_index(["episode"])
    db["interactions"].create_index(["created_at"])
    db["turns"].create(
        {
            "interaction": int,
            "idx": int,
            "adapter": str,
            "completion": str,
            "prompt_ids": bytes,
            "completion_ids": bytes,
            "logprobs": bytes,
            "reply": str,
            "complaint": str,
            "results": str,
        },
        pk=("interaction", "idx"),
        not_null={"completion", "reply", "complaint", "results"},
        foreign_keys=[("interaction", "interactions", "seq")],
    )
    _create_calls_and_labels(db)


def _create_contents(db: Database) -> None:
    """Create the tables of what is stored once, under a hash of its content."""
    db["toolsets"].create(
        {"id": int, "hash": bytes, "tools": str}, pk="id", not_null={"hash", "tools"}
    )
    db["toolsets"].create_index(["hash"], unique=True)
    db["tools"].create(
        {"id": int, "hash": bytes, "name": str, "body": str},
        pk="id",
        not_null={"hash", "name", "body"},
    )
    db["tools"].create_index(["hash"], unique=True)
    db["messages"].create(
        {"id": int, "hash": bytes, "parent": int, "body": str}, pk="id", not_null={"hash", "body"}
    )
    db["messages"].create_index(["hash"], unique=True)


def _create_calls_and_labels(db: Database) -> None:
    db["calls"].create(
        {"call_id": str, "principal": str, "interaction": int, "turn": int, "position": int},
        pk=("call_id", "principal", "interaction", "turn", "position"),
        foreign_keys=[("interaction", "interactions", "seq")],
    )
    db["labels"].create(
        {
            "seq": int,
            "interaction": int,
            "turn": int,
            "verdict": str,
            "source": str,
            "author": str,
            "created_at": str,
            "body": str,
        },
        pk="seq",
        not_null={"interaction", "turn", "verdict", "source", "author", "created_at", "body"},
        foreign_keys=[("interaction", "interactions", "seq")],
    )
    db["labels"].create_index(["interaction"])
    db["labels"].create_index(["author", "created_at"])


def _add_redaction(db: Database) -> None:
    """Mark redacted turns, and keep the side of the split that a redacted text had."""
    db["turns"].add_column("redacted", int, not_null_default=0)
    db["interactions"].add_column("split_place", float)


def _add_sampling_logprobs(db: Database) -> None:
    """Keep log-probs under what was drawn from, where that is not the plain model."""
    db["turns"].add_column("sampling_logprobs", bytes)


MIGRATIONS: tuple[Callable[[Database], None], ...] = (
    _create,
    _add_redaction,
    _add_sampling_logprobs,
)
"""Entry n takes a store of version n to version n + 1."""

SCHEMA_VERSION = len(MIGRATIONS)
"""The version that this package writes."""


def migrate(connection: sqlite3.Connection, *, path: str) -> None:
    """Bring a store to the current version, in one transaction; a new file gets all tables.

    Raises:
        StoreTooNew: a newer version of this package wrote it.
        StoreError: it is a SQLite file of something else.
    """
    if _version(connection, path=path) == SCHEMA_VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Another process may have migrated while this one waited for the lock.
        db = Database(connection, execute_plugins=False)
        for step in MIGRATIONS[_version(connection, path=path) :]:
            step(db)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _version(connection: sqlite3.Connection, *, path: str) -> int:
    """Return the version of a store, 0 for an empty file; refuse what is no store of ours."""
    owner = connection.execute("PRAGMA application_id").fetchone()[0]
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if owner != APPLICATION_ID:
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if owner or version or tables:
            raise StoreError(
                f"{path!r} is a SQLite file but not a replay store; "
                "give the path of a store, or of a new file to create one"
            )
    if version > SCHEMA_VERSION:
        raise StoreTooNew(
            f"the replay store {path!r} has schema version {version}, but this version of "
            f"tooln1-agent knows versions up to {SCHEMA_VERSION}; upgrade tooln1-agent, or use "
            "another store"
        )
    return version
