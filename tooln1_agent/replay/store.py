"""The replay store: what was served, what it should have done, and the examples that follow.

One SQLite file, written by any number of processes. A turn is durable when `add_turn` returns: it
outlives the death of the process (see `database.Connection` for what a power loss may take).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Self

from tool_registry.calls import ToolResult
from tool_registry.tool import ToolSpec
from tooln1_agent.examples import LabelEvent
from tooln1_agent.redaction import placeholders_for
from tooln1_agent.replay.collect import ExampleSet, collect_examples
from tooln1_agent.replay.contents import get_messages, get_tools
from tooln1_agent.replay.database import Connection
from tooln1_agent.replay.episodes import (
    MintedCall,
    read_call,
    read_episodes,
    read_failed_episodes,
)
from tooln1_agent.replay.labelled_turns import Made, examples_of_turns
from tooln1_agent.replay.labels import LabelPolicy, check_label
from tooln1_agent.replay.recording import (
    append_turn,
    insert_interaction,
    insert_label,
    instant_text,
    unknown_interaction,
    update_results,
    update_stop,
)
from tooln1_agent.replay.redacting import Redacted, redact_rows
from tooln1_agent.replay.rows import TURN_COLUMNS, read_turn
from tooln1_agent.replay.stats import StoreStats, read_stats
from tooln1_agent.transcript import Interaction, Stop, Turn

_PAGE = 200
_COLUMNS = (
    "seq, id, episode, agent, principal, base_model, tokenizer_hash, prompt_version, "
    "last_message, toolset, stop, no_train, split_place, created_at"
)


class ReplayStore:
    """Keeps interactions and labels; the loop's recorder. May be shared between threads.

    Raises:
        StoreError: the file cannot be opened, or is not a replay store.
        StoreTooNew: a newer version of this package wrote it.
    """

    def __init__(
        self, path: str | Path, *, create: bool = True, policy: LabelPolicy | None = None
    ) -> None:
        """Open the store at `path` (":memory:" for one that is not kept).

        Args:
            create: whether a file that does not exist is made; else it is refused.
        """
        self._db = Connection(path, create=create)
        self._policy = policy or LabelPolicy()
        self._tools = lru_cache(maxsize=1024)(partial(get_tools, self._db))

    @property
    def path(self) -> str:
        """Return the path that the store was opened with."""
        return self._db.path

    def close(self) -> None:
        """Close the store; closing it again does nothing."""
        self._db.close()

    def check_writable(self) -> None:
        """Return if the store can be written to; raises `StoreError`."""
        with self._db.transaction():
            pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Writing what happens

    def begin(self, interaction: Interaction) -> None:
        """Record that an interaction has begun, with the turns it may already have."""
        with self._db.transaction() as db:
            insert_interaction(db, interaction)

    def add_turn(self, interaction_id: str, index: int, turn: Turn) -> None:
        """Record a turn; when this returns, it is durable.

        Raises:
            UnknownRecord: no such interaction.
            StoreError: `index` is not the number of turns recorded so far.
        """
        with self._db.transaction() as db:
            append_turn(db, interaction_id, index, turn)

    def set_results(self, interaction_id: str, index: int, results: Sequence[ToolResult]) -> None:
        """Record what came of the calls of a turn."""
        with self._db.transaction() as db:
            update_results(db, interaction_id, index, results)

    def finish(self, interaction_id: str, stop: Stop) -> None:
        """Record why an interaction ended."""
        with self._db.transaction() as db:
            update_stop(db, interaction_id, stop)

    # Reading it back

    def interaction(self, interaction_id: str) -> Interaction:
        """Return one interaction, as it was recorded so far; raises `UnknownRecord`."""
        rows = self._rows("id = ?", (interaction_id,))
        if not rows:
            raise unknown_interaction(interaction_id)
        return self._read(rows[0])

    def has(self, interaction_id: str) -> bool:
        """Return whether there is an interaction with this id."""
        return bool(self._db.read("SELECT 1 FROM interactions WHERE id = ?", (interaction_id,)))

    def interactions(
        self,
        *,
        since: datetime | None = None,
        agent: str | None = None,
        limit: int | None = None,
        newest_first: bool = False,
    ) -> Iterator[Interaction]:
        """Yield interactions in the order they began; those added meanwhile may be among them."""
        last: int | None = None
        left = limit
        while left is None or left > 0:
            where, values = ["1"], list[Any]()
            if since is not None:
                where, values = [*where, "created_at >= ?"], [*values, instant_text(since)]
            if agent is not None:
                where, values = [*where, "agent = ?"], [*values, agent]
            if last is not None:
                where.append("seq < ?" if newest_first else "seq > ?")
                values.append(last)
            order = "DESC" if newest_first else "ASC"
            page = _PAGE if left is None else min(left, _PAGE)
            condition = f"{' AND '.join(where)} ORDER BY seq {order} LIMIT {page}"
            rows = self._rows(condition, values)
            yield from map(self._read, rows)
            if len(rows) < page:
                return
            last = rows[-1][0]
            left = None if left is None else left - len(rows)

    def count(self) -> int:
        """Return how many interactions there are."""
        return int(self._db.read("SELECT count(*) FROM interactions")[0][0])

    def stats(self) -> StoreStats:
        """Return counts of what the store holds."""
        return read_stats(self._db)

    # Episodes

    def episode(self, episode: str) -> tuple[Interaction, ...]:
        """Return the interactions of one conversation, in the order they began."""
        return tuple(map(self._read, self._rows("episode = ? ORDER BY seq", (episode,))))

    def episodes(self) -> tuple[str, ...]:
        """Return the ids of all conversations, in the order they began."""
        return read_episodes(self._db)

    def failed_episodes(self) -> tuple[str, ...]:
        """Return the conversations in which a turn failed, or may have, and another came after.

        What a client's own tools returned has to be read to tell, so those may be among them.
        """
        return read_failed_episodes(self._db)

    def call_of(self, call_id: str, *, principal: str) -> MintedCall | None:
        """Return the call that was handed to this principal under this id; None if none was."""
        return read_call(self._db, call_id, principal=principal)

    def episode_of_calls(self, call_ids: Sequence[str], *, principal: str) -> str | None:
        """Return the conversation to which the last call id belongs that we minted.

        Ids that we did not mint, or minted for another principal, count for nothing.
        """
        for call_id in reversed(call_ids):
            minted = self.call_of(call_id, principal=principal)
            if minted is not None:
                return minted.episode
        return None

    # Labels and examples

    def add_label(self, event: LabelEvent, *, policy: LabelPolicy | None = None) -> None:
        """Append a label.

        Args:
            policy: what its author may teach; by default that of the store.

        Raises:
            UnknownRecord: no such interaction or turn.
            LabelRefused: the label makes no sense for its turn, or its author may not give it
                (`QuotaUsed`: not today).
        """
        check_label(event, self.interaction(event.interaction))
        with self._db.transaction() as db:
            insert_label(db, event, policy or self._policy)

    def labels(self, interaction: str | None = None) -> tuple[LabelEvent, ...]:
        """Return the labels of one interaction, or all of them, in the order they came in."""
        if interaction is None:
            rows = self._db.read("SELECT body FROM labels ORDER BY seq")
        else:
            rows = self._db.read(
                "SELECT body FROM labels WHERE interaction = "
                "(SELECT seq FROM interactions WHERE id = ?) ORDER BY seq",
                (interaction,),
            )
        return tuple(LabelEvent.model_validate(json.loads(body)) for (body,) in rows)

    def examples(
        self, *, holdout_share: float = 0.25, tools_now: Sequence[ToolSpec] | None = None
    ) -> ExampleSet:
        """Return what the labels teach, and a count of what they do not.

        Args:
            holdout_share: between 0 and 1; see `examples.split_of`.
            tools_now: the tools as they are today, if examples of other ones are to be left out.
        """
        return collect_examples(self.labelled(holdout_share=holdout_share, tools_now=tools_now))

    def labelled(
        self,
        *,
        interaction: str | None = None,
        holdout_share: float = 0.25,
        tools_now: Sequence[ToolSpec] | None = None,
    ) -> Iterator[Made]:
        """Yield each labelled turn, of one interaction or of all, and what its labels come to.

        The other arguments are those of `examples`. Raises `UnknownRecord`.
        """
        if interaction is not None:
            chosen = iter([(self.interaction(interaction), self.labels(interaction))])
        else:
            chosen = self._labelled()
        return examples_of_turns(chosen, holdout_share=holdout_share, tools_now=tools_now)

    def redact(self, texts: Iterable[str]) -> Redacted:
        """Put a placeholder for each text wherever it stands, and leave no trace of it in the file.

        Turns that held one of them, or were shown it, lose their ids and log-probs. The store is
        locked meanwhile, and then written anew. Doing it again is harmless.

        Raises:
            ConfigError: a text is too short.
        """
        placeholders = placeholders_for(texts)
        with self._db.transaction() as db:
            done = redact_rows(db, placeholders)
        return replace(done, is_erased=self._db.rewrite())

    def _labelled(self) -> Iterator[tuple[Interaction, tuple[LabelEvent, ...]]]:
        found = self._db.read("SELECT DISTINCT interaction FROM labels ORDER BY interaction")
        for (seq,) in found:
            interaction = self._read(self._rows("seq = ?", (seq,))[0])
            yield interaction, self.labels(interaction.id)

    def _rows(self, condition: str, values: Sequence[Any]) -> list[Any]:
        return self._db.read(
            f"SELECT {_COLUMNS} FROM interactions WHERE {condition}",  # noqa: S608 - our own text
            values,
        )

    def _read(self, row: Sequence[Any]) -> Interaction:
        seq, *names, last_message, toolset, stop, no_train, split_place, created_at = row
        turns = self._db.read(
            f"SELECT {TURN_COLUMNS} FROM turns WHERE interaction = ? ORDER BY idx",  # noqa: S608
            (seq,),
        )
        fields = ("id", "episode", "agent", "principal")
        made_by = ("base_model", "tokenizer_hash", "prompt_version")
        return Interaction(
            **dict(zip(fields + made_by, names, strict=True)),
            messages=get_messages(self._db, last_message),
            tools=self._tools(toolset),
            turns=tuple(map(read_turn, turns)),
            stop=stop,
            no_train=bool(no_train),
            split_place=split_place,
            created_at=datetime.fromisoformat(created_at),
        )
