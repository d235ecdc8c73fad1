"""Brings benchmark rows into a replay store: as prompts of their own, or as labels on traffic."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from tooln1_agent.datasets.benchmark import BenchmarkRow
from tooln1_agent.errors import LabelRefused
from tooln1_agent.examples import LabelEvent, example_id
from tooln1_agent.replay.found import same_word
from tooln1_agent.replay.labels import check_label
from tooln1_agent.replay.store import ReplayStore
from tooln1_agent.transcript import Interaction


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
    """Why the target of a row cannot be a label, by the row's id."""


def import_rows(
    store: ReplayStore,
    rows: Iterable[BenchmarkRow],
    *,
    author: str = "import",
    now: datetime | None = None,
) -> ImportReport:
    """Add each row as an interaction that was never served, with its target on turn 0.

    Importing a row again changes nothing.
    """
    now = now or datetime.now(UTC)
    added = known = 0
    refused: dict[str, str] = {}
    for row in rows:
        interaction = _interaction(row, now)
        label = _label(interaction.id, row, author=author, now=now)
        try:
            check_label(label, interaction)
        except LabelRefused as error:
            refused[row.id] = str(error)
            continue
        if store.has(interaction.id):
            known += 1
            continue
        store.begin(interaction)
        store.add_label(label)
        added += 1
    return ImportReport(added, known, refused=refused)


def label_from_rows(
    store: ReplayStore,
    rows: Iterable[BenchmarkRow],
    *,
    author: str = "import",
    now: datetime | None = None,
) -> ImportReport:
    """Label the interactions that were served with exactly the prompt of a row.

    Only first turns are labelled: what follows depends on what the model did. Doing it again adds
    labels only to what was served since.
    """
    now = now or datetime.now(UTC)
    by_prompt = {example_id(row.messages, row.tools): row for row in rows}
    met: set[str] = set()
    added = known = 0
    refused: dict[str, str] = {}
    for interaction in store.interactions():
        prompt = example_id(interaction.messages, interaction.tools)
        row = by_prompt.get(prompt)
        if row is None or not interaction.turns:
            continue
        met.add(prompt)
        label = _label(interaction.id, row, author=author, now=now)
        if any(same_word(label, other) for other in store.labels(interaction.id)):
            known += 1
            continue
        try:
            store.add_label(label)
        except LabelRefused as error:
            refused[row.id] = str(error)
            continue
        added += 1
    return ImportReport(added, known, len(by_prompt) - len(met), refused)


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
