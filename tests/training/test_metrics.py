from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from trainer.metrics import Metrics, StepMetrics, read_metrics

STEP = StepMetrics(
    step=1, reward=0.25, call_reward=0.25, no_call_reward=None, flat_share=0.5, right_share=0.25,
    groups=4, trained=2, truncated_share=0.0, mean_tokens=7.0, prompt_tokens=99.0, loss=0.1, kl=0.0,
    grad_norm=1.0, clipped_share=0.0, ratio_gap=1e-7, tokens_per_s=1234.5, sample_s=1.0,
    update_s=0.5, trained_s=1.5,
)  # fmt: skip


def written(directory: Path, steps: range, *, after_step: int = 0, terminal: bool = False) -> str:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=120)
    with Metrics(directory, after_step=after_step, console=console) as metrics:
        for step in steps:
            metrics.add(replace(STEP, step=step))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_each_step_is_a_line_of_json_that_can_be_read_back(tmp_path: Path) -> None:
    written(tmp_path, range(1, 4))
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[0])["no_call_reward"] is None
    assert read_metrics(tmp_path) == [replace(STEP, step=step) for step in (1, 2, 3)]
    assert list((tmp_path / "tensorboard").iterdir())


def test_a_run_that_goes_on_drops_what_came_after_its_checkpoint(tmp_path: Path) -> None:
    written(tmp_path, range(1, 6))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "rew')  # cut off by a crash
    written(tmp_path, range(4, 7), after_step=3)
    assert [step.step for step in read_metrics(tmp_path)] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("terminal", [False, True])
def test_people_see_the_steps_with_and_without_a_terminal(tmp_path: Path, terminal: bool) -> None:
    shown = written(tmp_path, range(1, 3), terminal=terminal)
    assert "0.250" in shown
    assert "1,23" in shown
    if not terminal:
        assert len(shown.splitlines()) == 2
