"""Training from time to time, for as long as the process is let."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tooln1_agent.agent import Agent
from tooln1_agent.errors import AdapterError, StoreError
from tooln1_agent.replay.store import ReplayStore
from tooln1_agent.verifier import examples_for
from trainer.errors import TrainerError
from trainer.run import known_runs


def run_every(
    train_once: Callable[[], None],
    *,
    new_examples: Callable[[], int],
    min_new: int,
    wait: Callable[[], bool],
    say: Callable[[str], None],
) -> None:
    """Train whenever enough new labels have come, until `wait` says that it is over.

    A run that fails is told, and the loop goes on; only a wrong setting ends it.

    Args:
        new_examples: how many training examples were labelled since the last run.
        wait: sleeps until the next occasion; True ends the loop.
    """
    while True:
        try:
            count = new_examples()
            if count >= min_new:
                train_once()
            else:
                say(f"{count} new examples, {min_new} are wanted: waiting")
        except (TrainerError, StoreError, AdapterError) as error:
            say(f"this run failed: {error}")
        if wait():
            return


def new_since_last_run(store: Path, runs: Path, *, agent: Agent | None = None) -> int:
    """Count the training examples labelled since the newest run that came to its end.

    Every example is new where there was none yet. Raises StoreError.
    """
    known = [run.manifest for run in known_runs(runs) if run.manifest.finished]
    until = known[-1].seen_until if known else None
    with ReplayStore(store, create=False) as opened:
        examples = examples_for(opened, agent).examples
    return sum(e.split == "train" and (until is None or e.created_at > until) for e in examples)


@contextmanager
def interruptible_wait(every_s: float) -> Iterator[Callable[[], bool]]:
    """Give a `wait` that SIGINT and SIGTERM end at once, and that lets a run go to its end."""
    stopped = threading.Event()
    before = {
        number: signal.signal(number, lambda *_: stopped.set())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield lambda: stopped.wait(every_s)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
