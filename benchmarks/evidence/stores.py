"""Copies of a replay store in which other labels stand: fewer, wrong ones, none, or a rule's."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tooln1_agent.datasets.imports import import_rows
from tooln1_agent.datasets.rows import BenchmarkRow
from tooln1_agent.examples import Exact, LabelEvent, NoCall, Verify, split_of
from tooln1_agent.replay.store import ReplayStore
from tooln1_agent.replay.verified import find_judgeable
from tooln1_agent.reward import judge
from tooln1_agent.transcript import Interaction
from trainer.seed.deployment import Request
from trainer.seed.world import draw_episode

Labelled = tuple[Interaction, LabelEvent]
Change = Callable[[Sequence[Labelled]], Iterator[LabelEvent]]


def copy_store(source: Path, to: Path, *, change: Change, most: int | None = None) -> int:
    """Copy interactions, and of their labels what `change` makes of them; return how many labels.

    Args:
        most: how many interactions, those that began first; all of them if not given.
    """
    to.parent.mkdir(parents=True, exist_ok=True)
    unfinished = to.with_suffix(".unfinished")
    unfinished.unlink(missing_ok=True)
    with ReplayStore(source, create=False) as old, ReplayStore(unfinished) as new:
        by_id = {interaction.id: interaction for interaction in old.interactions(limit=most)}
        for interaction in by_id.values():
            new.begin(interaction)
        given = [event for event in old.labels() if event.interaction in by_id]
        labels = list(change([(by_id[event.interaction], event) for event in given]))
        for event in labels:
            new.add_label(event)
    unfinished.rename(to)
    return len(labels)


def first(count: int) -> Change:
    """Keep the labels that came in first."""

    def change(labelled: Sequence[Labelled]) -> Iterator[LabelEvent]:
        yield from (event for _, event in labelled[:count])

    return change


def paid_by(rule: str, *, count: int) -> Change:
    """Keep the labels that came in first for the gate alone; a rule pays in training."""

    def change(labelled: Sequence[Labelled]) -> Iterator[LabelEvent]:
        for interaction, event in labelled[:count]:
            if split_of(interaction.messages) == "holdout":
                yield event
            else:
                changes = {"verdict": "target", "target": Verify(rule=rule)}
                yield event.model_copy(update=changes)

    return change


@dataclass(frozen=True, slots=True)
class Wrong:
    """Keep the first labels, of which just this share is wrong: somebody meant another request."""

    count: int
    share: float
    truth: Mapping[str, Request]
    """Every request of the traffic by its text."""
    seed: int

    def __call__(self, labelled: Sequence[Labelled]) -> Iterator[LabelEvent]:
        """Yield them: what people said where that is right, or else the truth; then the slips."""
        rng = random.Random(f"wrong {self.seed} {self.share}")
        kept = labelled[: self.count]
        slips = set(rng.sample(range(len(kept)), round(self.share * len(kept))))
        for number, (interaction, event) in enumerate(kept):
            request = self._request(interaction)
            if number in slips:
                yield _saying(event, self._another(rng, request))
            elif _is_true(interaction, event, request):
                yield event
            else:
                yield _saying(event, request)

    def _request(self, interaction: Interaction) -> Request:
        said = next(m.content for m in interaction.messages if m.role == "user")
        return self.truth[said]

    def _another(self, rng: random.Random, request: Request) -> Request:
        """Return a request for the same tool that wants other calls, or, of no tool, any call."""
        others = [
            other for other in self.truth.values() if other.gold and other.gold != request.gold
        ]
        same = [other for other in others if other.tool == request.tool]
        return rng.choice(same or others)


def judged_by(path: Path, rule: str) -> int:
    """Have a rule judge what is sampled for every request of a store; return for how many."""
    now = datetime.now(UTC)
    with ReplayStore(path, create=False) as store:
        events = list(find_judgeable(store, rule, now=now))
        for event in events:
            store.add_label(event)
    return len(events)


def add_episodes(path: Path, *, seed: int, count: int) -> int:
    """Import episodes of the seed model's world, to be rehearsed; return how many.

    None is among those that tell whether old skills were kept.
    """
    rows = []
    for number in range(count):
        episode = draw_episode(random.Random(f"rehearsal {seed} {number}"))
        if episode.situation != "after_result":  # an answer in words, which no target judges
            rows.append(
                BenchmarkRow(
                    id=str(number),
                    source="seed world",
                    category=episode.situation,
                    messages=episode.messages,
                    tools=episode.tools,
                    target=episode.target,
                )
            )
    with ReplayStore(path, create=False) as store:
        return import_rows(store, rows).added


def _saying(event: LabelEvent, request: Request) -> LabelEvent:
    changes = {"verdict": "target", "target": request.target, "source": "correction"}
    return event.model_copy(update=changes)


def _is_true(interaction: Interaction, event: LabelEvent, request: Request) -> bool:
    """Whether a correction, or what an accept accepted, are the calls that were meant."""
    match event.target:
        case Exact(alternatives=alternatives):
            calls = alternatives[0]
        case NoCall():
            calls = ()
        case _:
            calls = interaction.turns[event.turn].reply.calls
    return judge(calls, tools=interaction.tools, target=request.target).value == 1.0
