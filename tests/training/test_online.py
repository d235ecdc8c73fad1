from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tooln1_agent.errors import ConfigError
from tooln1_agent.replay.store import ReplayStore
from trainer.config import GrpoConfig
from trainer.errors import NoSpread
from trainer.online import interruptible_wait, new_since_last_run, run_every
from trainer.run import Manifest, create_run

NOW = datetime(2026, 3, 1, tzinfo=UTC)


class Clock:
    """Lets a number of rounds go by, then says that it is over."""

    def __init__(self, rounds: int) -> None:
        self.left = rounds

    def __call__(self) -> bool:
        self.left -= 1
        return self.left == 0


def test_training_waits_for_enough_new_examples() -> None:
    counts: Iterator[int] = iter([0, 9, 10, 3])
    trained: list[int] = []
    said: list[str] = []
    run_every(
        lambda: trained.append(1),
        new_examples=lambda: next(counts),
        min_new=10,
        wait=Clock(4),
        say=said.append,
    )
    assert len(trained) == 1
    assert said == [f"{n} new examples, 10 are wanted: waiting" for n in (0, 9, 3)]


def test_a_run_that_fails_is_told_and_does_not_end_the_loop() -> None:
    tried: list[int] = []
    said: list[str] = []

    def fail() -> None:
        tried.append(1)
        raise NoSpread("every group was all right")

    run_every(fail, new_examples=lambda: 1, min_new=1, wait=Clock(3), say=said.append)
    assert len(tried) == 3
    assert said == ["this run failed: every group was all right"] * 3


def test_a_wrong_setting_ends_the_loop() -> None:
    def fail() -> None:
        raise ConfigError("no such model")

    with pytest.raises(ConfigError):
        run_every(fail, new_examples=lambda: 1, min_new=1, wait=Clock(3), say=lambda _: None)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_wait_and_the_handlers_come_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with interruptible_wait(3600.0) as wait:
        os.kill(os.getpid(), number)
        assert wait()
    assert signal.getsignal(number) is before


def test_only_labels_after_the_last_finished_run_are_new(
    make_store: Callable[..., Path], tmp_path: Path
) -> None:
    store, runs = make_store(["on"] * 40), tmp_path / "runs"
    with ReplayStore(store) as opened:
        times = [e.created_at for e in opened.examples().examples if e.split == "train"]
    manifest = Manifest(
        name="a",
        created_at=NOW,
        store=str(store),
        base_model="tiny",
        prompt_version="tooln1-1",
        tokenizer_hash="",
        parent=None,
        known_until=None,
        seen_until=times[10],
        config=GrpoConfig(),
    )
    assert new_since_last_run(store, runs) == len(times)
    run = create_run(runs, manifest, [])
    assert new_since_last_run(store, runs) == len(times)  # it was cut off, so it counts for nothing
    run.note(finished=True)
    assert new_since_last_run(store, runs) == len(times) - 11
    later = manifest.model_copy(update={"name": "b", "seen_until": NOW + timedelta(days=9)})
    create_run(runs, later, []).note(finished=True)
    assert new_since_last_run(store, runs) == 0
