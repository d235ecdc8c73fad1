"""Counts of what a replay store holds."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from tooln1_agent.replay.database import Connection
from tooln1_agent.replay.schema import SCHEMA_VERSION


class StoreStats(BaseModel):
    """What a replay store holds, for people and for monitoring."""

    model_config = ConfigDict(frozen=True)

    schema_version: int
    interactions: int
    episodes: int
    turns: int
    redacted_turns: int
    no_train: int
    """Interactions that must not be trained on."""
    by_stop: dict[str, int]
    """Interactions by why they ended; "unfinished" for those that run or were killed."""
    by_adapter: dict[str, int]
    """Turns by the adapter that served them; "base" for the base model alone."""
    labels: int
    labels_by_source: dict[str, int]
    labels_by_verdict: dict[str, int]
    size_bytes: int
    """Size of the database's pages, without the write-ahead log."""


def read_stats(db: Connection) -> StoreStats:
    """Count what the store holds."""
    rows = db.read("SELECT count(*), count(DISTINCT episode), sum(no_train) FROM interactions")
    interactions, episodes, no_train = rows[0]
    pages, page_size = db.read("PRAGMA page_count")[0][0], db.read("PRAGMA page_size")[0][0]
    by_source = _count(db, "SELECT source, count(*) FROM labels GROUP BY 1 ORDER BY 1")
    return StoreStats(
        schema_version=SCHEMA_VERSION,
        interactions=interactions,
        episodes=episodes,
        turns=db.read("SELECT count(*) FROM turns")[0][0],
        redacted_turns=db.read("SELECT count(*) FROM turns WHERE redacted")[0][0],
        no_train=no_train or 0,
        by_stop=_count(
            db, "SELECT ifnull(stop, 'unfinished'), count(*) FROM interactions GROUP BY 1"
        ),
        by_adapter=_count(db, "SELECT ifnull(adapter, 'base'), count(*) FROM turns GROUP BY 1"),
        labels=sum(by_source.values()),
        labels_by_source=by_source,
        labels_by_verdict=_count(db, "SELECT verdict, count(*) FROM labels GROUP BY 1 ORDER BY 1"),
        size_bytes=pages * page_size,
    )


def _count(db: Connection, sql: str) -> dict[str, int]:
    return dict(db.read(sql))
