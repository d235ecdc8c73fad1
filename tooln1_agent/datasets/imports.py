"""Brings labelled rows into a replay store: as prompts of their own, or as labels on traffic."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from tooln1_agent.datasets.rows import DOES_NOT_FIT, BenchmarkRow, Skipped
from tooln1_agent.errors import LabelRefused
from tooln1_agent.examples import LabelEvent, example_id
from tooln1_agent.replay.found import is_said
from tooln1_agent.replay.labels import check_label
from tooln1_agent.replay.store import ReplayStore
from tooln1_agent.transcript import Interaction

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What came of the rows of an import."""

    added: int
    """Labels written."""
    known: int = 0
    """Labels that were there already."""
    unmatched: int = 0
    """Rows whose prompt was never served (only where rows label traffic)."""
    refused: dict[str, str] = field(default_factory=dict)
    """Why the target of a row cannot be a label on what was served, by the row's id."""
    skipped: dict[str, int] = field(default_factory=dict)
    """How many rows, or steps of rows, gave no example, by reason."""
    first_skipped: tuple[Skipped, ...] = ()
    """The first few of them."""
    interactions: int | None = None
    """Interactions written, of an import that brings its traffic with it."""


class Tally:
    """Counts what was skipped, and keeps only the first few."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.first: list[Skipped] = []

    def add(self, skipped: Skipped) -> None:
        self.counts[skipped.reason] += 1
        if len(self.first) < _SHOWN:
            self.first.append(skipped)


def import_rows(
    store: ReplayStore,
    rows: Iterable[BenchmarkRow | Skipped],
    *,
    author: str = "import",
    now: datetime | None = None,
) -> ImportReport:
    """Add each row as an interaction that was never served, with its target on turn 0.

    Importing a row again changes nothing. Rows are read one by one; none is kept.
    """
    now = now or datetime.now(UTC)
    added = known = 0
    tally = Tally()
    for row in rows:
        if isinstance(row, Skipped):
            tally.add(row)
            continue
        interaction = _interaction(row, now)
        label = _label(interaction.id, row, author=author, now=now)
        try:
            check_label(label, interaction)
        except LabelRefused as error:
            tally.add(Skipped(DOES_NOT_FIT, str(error), row.id))
            continue
        if not store.has(interaction.id):
            store.begin(interaction)
        elif store.labels(interaction.id):  # without one, an import was cut short just there
            known += 1
            continue
        store.add_label(label)
        added += 1
    return ImportReport(added, known, skipped=dict(tally.counts), first_skipped=tuple(tally.first))


def label_from_rows(
    store: ReplayStore,
    rows: Iterable[BenchmarkRow | Skipped],
    *,
    author: str = "import",
    now: datetime | None = None,
) -> ImportReport:
    """Label the interactions that were served with exactly the prompt of a row.

    Only first turns are labelled: what follows depends on what the model did. Doing it again adds
    labels only to what was served since. The rows are held in memory.
    """
    now = now or datetime.now(UTC)
    tally = Tally()
    by_prompt: dict[str, BenchmarkRow] = {}
    for row in rows:
        if isinstance(row, Skipped):
            tally.add(row)
        else:
            by_prompt[example_id(row.messages, row.tools)] = row
    met: set[str] = set()
    added = known = 0
    refused: dict[str, str] = {}
    for interaction in store.interactions():
        prompt = example_id(interaction.messages, interaction.tools)
        found = by_prompt.get(prompt)
        if found is None or not interaction.turns:
            continue
        met.add(prompt)
        label = _label(interaction.id, found, author=author, now=now)
        if is_said(label, store.labels(interaction.id)):
            known += 1
            continue
        try:
            store.add_label(label)
        except LabelRefused as error:
            refused[found.id] = str(error)
            continue
        added += 1
    unmatched = len(by_prompt) - len(met)
    return ImportReport(added, known, unmatched, refused, dict(tally.counts), tuple(tally.first))


def _interaction(row: BenchmarkRow, now: datetime) -> Interaction:
    prompt = example_id(row.messages, row.tools)
    name = "\n".join((row.source, row.id, prompt)).encode("utf-8", "backslashreplace")
    digest = hashlib.sha256(name).hexdigest()[:24]
    return Interaction(
        id=f"int_row_{digest}",
        episode=f"ep_row_{digest}",
        agent=row.source,
        messages=row.messages,
        tools=row.tools,
        stop="imported",
        created_at=now,
    )


def _label(interaction: str, row: BenchmarkRow, *, author: str, now: datetime) -> LabelEvent:
    return LabelEvent(
        interaction=interaction,
        verdict="target",
        target=row.target,
        source="dataset",
        author=author,
        evidence=f"{row.source} {row.category} {row.id}",
        created_at=now,
    )
