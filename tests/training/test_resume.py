"""A run that is killed, at whatever instant, ends with the weights of one that was not."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.training import killed_runs
from trainer.config import GrpoConfig

CONFIG = GrpoConfig(
    steps=2, prompts_per_step=2, group_size=4, max_tokens=16, lora_rank=1, learning_rate=1e-2,
    refill=0.0, checkpoint_every=1, validation_share=0.5, validation_every=1, logged_replies=True,
)  # fmt: skip

pytestmark = pytest.mark.slow


@pytest.fixture
def runs(make_store: Callable[..., Path], tiny_agent_dir: Path) -> dict[str, Any]:
    """What all runs of a test have in common."""
    store = make_store(["on", "off", ""] * 5, model_dir=tiny_agent_dir)
    return {"store": store, "model": tiny_agent_dir, "config": CONFIG}


def check(
    runs: dict[str, Any], tmp_path: Path, watch: Any, instants: Callable[[int], list[int]]
) -> None:
    """Kill a run at each of the instants, of so many that it has, and let it go on."""
    code, count = killed_runs.run(tmp_path / "whole", watch=watch, **runs)
    assert code == 0
    expected = killed_runs.weights(tmp_path / "whole")
    for instant in instants(count):
        out = tmp_path / f"killed-{instant}"
        code, _ = killed_runs.run(out, watch=watch, kill_at=instant, **runs)
        assert code == -signal.SIGKILL, instant
        code, _ = killed_runs.run(out, **runs)
        assert code == 0, instant
        assert killed_runs.weights(out) == expected, instant


@pytest.mark.timeout(600)
def test_killed_at_every_change_to_the_files_of_a_checkpoint(
    runs: dict[str, Any], tmp_path: Path
) -> None:
    def every(count: int) -> list[int]:
        assert count >= 20
        return list(range(count))

    check(runs, tmp_path, killed_runs.watch_checkpoints, every)


@pytest.mark.timeout(600)
def test_killed_at_twenty_random_calls(runs: dict[str, Any], tmp_path: Path) -> None:
    draws = random.Random(7)
    check(
        runs, tmp_path, killed_runs.watch_calls, lambda count: draws.sample(range(count - 100), 20)
    )
