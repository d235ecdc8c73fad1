"""What a run takes from the replay store: hindsight labels, and the examples on both sides."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from tooln1_agent.agent import Agent
from tooln1_agent.examples import Example, LabelEvent
from tooln1_agent.replay.found import is_said, write_found
from tooln1_agent.replay.hindsight import find_hindsight
from tooln1_agent.replay.store import ReplayStore
from tooln1_agent.verifier import examples_for
from trainer.errors import NothingToTrain


class Found(NamedTuple):
    """The examples of a store."""

    train: list[Example]
    holdout: list[Example]
    skipped: dict[str, int]
    """Labelled turns that gave no example, by reason."""


def find_examples(store: ReplayStore, agent: Agent | None = None) -> Found:
    """Return the examples of a store; raises NothingToTrain where none is there to train on.

    Args:
        agent: runs what `Verify` targets ask for; without one such examples are left out.
    """
    every = examples_for(store, agent)
    skipped = {str(reason): count for reason, count in every.skipped.items()}
    train = [example for example in every.examples if example.split == "train"]
    if not train:
        reasons = ", ".join(f"{reason} {count}" for reason, count in skipped.items())
        raise NothingToTrain(
            f"the store {store.path!r} gives no example to train on"
            + (f" (labelled but not usable: {reasons})" if reasons else "")
            + ": give feedback on served turns (POST /v1/feedback or `tooln1-agent label`), or "
            "bring in labelled requests with `tooln1-agent import`"
        )
    return Found(train, [e for e in every.examples if e.split == "holdout"], skipped)


def holdout_of(path: Path, agent: Agent | None = None) -> list[Example]:
    """Return the held-out examples that a store has now."""
    with ReplayStore(path, create=False) as store:
        return [e for e in examples_for(store, agent).examples if e.split == "holdout"]


def missing_hindsight(store: ReplayStore) -> list[LabelEvent]:
    """Return the labels that hindsight gives and the store does not have yet."""
    return [e for e in find_hindsight(store) if not is_said(e, store.labels(e.interaction))]


def add_hindsight(store: ReplayStore) -> int:
    """Put them into the store; return how many it took."""
    return write_found(store, find_hindsight(store)).added
