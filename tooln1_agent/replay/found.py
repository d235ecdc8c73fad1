"""Writes labels that a search found, so that searching again adds nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from tooln1_agent.errors import LabelRefused
from tooln1_agent.examples import LabelEvent
from tooln1_agent.replay.store import ReplayStore


class Written(NamedTuple):
    """What came of labels that were found."""

    added: int
    known: int
    """There already."""
    refused: int
    """Not allowed by the store, say because the arguments do not fit the schema."""


def write_found(store: ReplayStore, events: Iterable[LabelEvent]) -> Written:
    """Add the labels that are not in the store yet."""
    added = known = refused = 0
    for event in events:
        if any(same_word(event, other) for other in store.labels(event.interaction)):
            known += 1
            continue
        try:
            store.add_label(event)
        except LabelRefused:
            refused += 1
            continue
        added += 1
    return Written(added, known, refused)


def same_word(event: LabelEvent, other: LabelEvent) -> bool:
    """Whether two labels say the same about the same turn on the same ground."""
    fields = ("interaction", "turn", "verdict", "target", "source")
    return all(getattr(event, name) == getattr(other, name) for name in fields)
