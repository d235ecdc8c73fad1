"""Examples that are kept out of training, and what is told of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tooln1_agent.examples import Example
from tooln1_agent.messages import Message
from trainer.config import GrpoConfig
from trainer.grpo import train
from trainer.learner import Learner, new_learner
from trainer.metrics import StepMetrics
from trainer.policy import load_policy
from trainer.selection import kept_back
from trainer.sft import imitate

Make = Callable[..., list[Example]]


def test_about_the_share_is_kept_back_whatever_the_order(make_examples: Make) -> None:
    examples = make_examples(["on"] * 400)
    kept = kept_back(examples, share=0.1)
    assert 25 <= len(kept) <= 55
    assert {e.id for e in kept} == {e.id for e in kept_back(examples[::-1], share=0.1)}


def test_no_example_is_kept_back_that_was_trained_on_when_there_were_fewer(
    make_examples: Make,
) -> None:
    examples = make_examples(["on"] * 2000)
    before = {e.id for e in kept_back(examples[:400], share=0.1)}
    after = {e.id for e in kept_back(examples, share=0.1)}
    assert after & {e.id for e in examples[:400]} <= before
    assert 40 <= len(after) <= 90  # no more than about 64, however many there are


def test_a_conversation_is_kept_back_as_a_whole(make_examples: Make) -> None:
    examples = make_examples(["on"] * 200)
    later = [
        e.model_copy(update={"id": f"{e.id}-2", "messages": (*e.messages, Message(role="user"))})
        for e in examples
    ]
    kept = {e.id for e in kept_back(examples + later, share=0.1)}
    assert kept
    assert {f"{name}-2" for name in kept if "-" not in name} == {n for n in kept if "-" in n}


@pytest.mark.parametrize(("count", "share"), [(20, 0.05), (400, 0.0)])
def test_too_few_are_none(make_examples: Make, count: int, share: float) -> None:
    assert kept_back(make_examples(["on"] * count), share=share) == []


@pytest.fixture
def learner(tiny_agent_dir: Path, make_examples: Make) -> Learner:
    examples = make_examples(["on"] * 12)
    config = GrpoConfig(lora_rank=1, learning_rate=0.0)
    learner = new_learner(load_policy(tiny_agent_dir, config), examples[:6], config)
    learner.validation = examples[6:]
    return learner


SMALL = {"lora_rank": 1, "prompts_per_step": 1, "group_size": 2, "max_tokens": 16, "flat_steps": 99}


def test_they_are_asked_after_the_first_step_now_and_then_and_after_the_last(
    learner: Learner, tmp_path: Path
) -> None:
    told: list[StepMetrics] = []
    config = GrpoConfig(**SMALL, steps=5, validation_every=3, solved_steps=99)
    train(learner, config, checkpoints=tmp_path, tell=told.append)
    asked = [step.step for step in told if step.validation is not None]
    assert asked == [1, 3, 5]
    assert all((step.validation_s > 0) == (step.step in asked) for step in told)
    # it says "off" to all, if only a little more often than "on", and nothing is learned
    assert {step.validation for step in told} == {0.0, None}


def test_imitation_is_told_by_them_as_well(learner: Learner, tmp_path: Path) -> None:
    told: list[StepMetrics] = []
    config = GrpoConfig(**SMALL, method="sft", steps=3, validation_every=2)
    imitate(learner, config, checkpoints=tmp_path, tell=told.append)
    assert [step.validation for step in told] == [0.0, 0.0, 0.0]


def test_asking_them_changes_nothing_that_is_sampled(
    tiny_agent_dir: Path, make_examples: Make, tmp_path: Path
) -> None:
    def course(validation: list[Example], name: str) -> list[float | None]:
        config = GrpoConfig(**SMALL, steps=4, validation_every=1, solved_steps=99)
        learner = new_learner(
            load_policy(tiny_agent_dir, config), make_examples(["on"] * 6), config
        )
        learner.validation = validation
        told: list[StepMetrics] = []
        train(learner, config, checkpoints=tmp_path / name, tell=told.append)
        return [step.reward for step in told]

    assert course(make_examples(["off"] * 3, begin=50), "with") == course([], "without")
