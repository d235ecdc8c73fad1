"""What a run leaves for people to read."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from tests.training.test_metrics import STEP
from tooln1_agent.examples import Example
from tooln1_agent.reward import Reward
from trainer.report import note_rollouts, write_report
from trainer.rollout import Group, Rollout


@pytest.fixture
def groups(make_examples: Callable[..., list[Example]]) -> list[Group]:
    """A flat group, and one with spread."""
    made = []
    for example, rewards in zip(
        make_examples(["on", "off"]), [(0.0, 0.0), (1.0, 0.0)], strict=True
    ):
        rollouts = tuple(
            Rollout(
                (1,), (0.0,), f"<think>{value}</think>|", Reward(value, f"because {value}"), False
            )
            for value in rewards
        )
        made.append(Group(example, (1,), rollouts))
    return made


def test_the_report_says_why_it_stopped_and_shows_plots_and_the_worst_rollouts(
    tmp_path: Path, groups: list[Group]
) -> None:
    steps = [replace(STEP, step=n, validation=v) for n, v in ((1, 0.25), (2, None), (3, 0.75))]
    lines = [json.dumps(asdict(step)) for step in steps]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    note_rollouts(tmp_path, 1, groups[:1])
    note_rollouts(tmp_path, 2, groups)
    text = write_report(tmp_path, title="a-run", said=["stopped because: solved"]).read_text()
    assert text.startswith(
        "# a-run\n\n- stopped because: solved\n"
        "- accuracy on the examples kept out of training: 0.250 -> 0.750\n"
    )
    assert "![the course of the run](report.png)" in text
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")
    assert "## Rollouts of step 2" in text
    lively, flat = text.index("[1.0, 0.0]"), text.index("[0.0, 0.0]")
    assert lively < flat
    assert text.count("Reward 0.0 (because 0.0)") == 2
    assert '"request 1"' in text


def test_a_run_that_sampled_nothing_has_no_rollouts_to_show(tmp_path: Path) -> None:
    imitated = replace(STEP, reward=None, call_reward=None)
    (tmp_path / "metrics.jsonl").write_text(json.dumps(asdict(imitated)) + "\n")
    text = write_report(tmp_path, title="a-run", said=["done"]).read_text()
    assert "Rollouts" not in text
    assert (tmp_path / "report.png").exists()


def test_a_run_without_a_step_is_told_in_words_alone(tmp_path: Path) -> None:
    assert (
        write_report(tmp_path, title="a-run", said=["nothing"]).read_text()
        == "# a-run\n\n- nothing\n"
    )
