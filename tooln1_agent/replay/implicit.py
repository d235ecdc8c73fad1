"""Implicit labels: everything ran, an answer came, and nobody objected for a while.

They are the weakest labels: they hold on to what works, count for nothing beside any other label
that disagrees, and never judge an adapter. Turns that call nothing get none.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from tooln1_agent.examples import LabelEvent
from tooln1_agent.instants import in_utc
from tooln1_agent.replay.steps import Step, steps_of
from tooln1_agent.replay.store import ReplayStore
from tooln1_agent.transcript import Interaction

AUTHOR = "implicit"
TRUST = 0.25
"""How far an implicit label is trusted; a person's is 1."""


def find_implicit(store: ReplayStore, *, quiet_s: float, now: datetime) -> list[LabelEvent]:
    """Return an accept for every calling turn of the episodes in which nothing went wrong.

    Args:
        quiet_s: seconds since the last request of an episode before its silence says something.
    """
    before = in_utc(now) - timedelta(seconds=quiet_s)
    events: list[LabelEvent] = []
    for name in store.episodes():
        episode = store.episode(name)
        if max(interaction.created_at for interaction in episode) > before:
            continue
        steps = steps_of(episode)
        if _went_well(episode, steps) and not _has_opinions(store, episode):
            events += [_accept(step, now) for step in steps if step.calls and _may_learn(step)]
    return events


def _went_well(episode: Sequence[Interaction], steps: Sequence[Step]) -> bool:
    return episode[-1].stop == "answer" and all(step.went_well for step in steps)


def _has_opinions(store: ReplayStore, episode: Sequence[Interaction]) -> bool:
    """Whether anybody, or any rule, has had a say about one of the episode's turns."""
    return any(
        event.source != "implicit"
        for interaction in episode
        for event in store.labels(interaction.id)
    )


def _may_learn(step: Step) -> bool:
    """Whether the calls may be taught as they were written: none had to be repaired to run."""
    written = [call.arguments for call in step.turn.reply.calls]
    return not step.interaction.no_train and written == [call.arguments for call in step.calls]


def _accept(step: Step, now: datetime) -> LabelEvent:
    return LabelEvent(
        interaction=step.interaction.id,
        turn=step.index,
        verdict="accept",
        source="implicit",
        author=AUTHOR,
        trust=TRUST,
        evidence=f"all {len(step.calls)} calls succeeded and nobody objected",
        created_at=now,
    )
