"""Writes labels that a search found, so that searching again adds nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
        if is_said(event, store.labels(event.interaction)):
            known += 1
            continue
        try:
            store.add_label(event)
        except LabelRefused:
            refused += 1
            continue
        added += 1
    return Written(added, known, refused)


def is_said(event: LabelEvent, labels: Sequence[LabelEvent]) -> bool:
    """Whether the newest label of its source on its turn says the same."""
    same = [e for e in labels if (e.turn, e.source) == (event.turn, event.source)]
    return bool(same) and (same[-1].verdict, same[-1].target) == (event.verdict, event.target)
