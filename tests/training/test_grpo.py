"""The loop: what it learns, why it stops, how it goes on."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tool_registry import ToolSpec
from tooln1_agent.engines.local.generate import Sample
from tooln1_agent.examples import Example, Target
from tooln1_agent.reward import Reward, Score, score
from trainer.checkpoint import latest_checkpoint, restore
from trainer.config import GrpoConfig
from trainer.errors import Diverged, Exploded
from trainer.grpo import train
from trainer.learner import Learner, new_learner
from trainer.metrics import StepMetrics
from trainer.policy import Policy, load_policy
from trainer.rollout import Group
from trainer.sampler import LocalSampler, Sampler

Make = Callable[..., list[Example]]
SMALL = {"lora_rank": 1, "prompts_per_step": 2, "group_size": 4, "max_tokens": 2, "steps": 3}


def has_vowel(text: str, *, tools: Sequence[ToolSpec], target: Target) -> Reward:
    """A reward that a random model earns now and then."""
    return Reward(float(any(char in "aeiouAEIOU" for char in text)), "")


def constant(value: float) -> Score:
    return lambda text, **_: Reward(value, "")


def learner_of(model_dir: Path, examples: list[Example], config: GrpoConfig) -> Learner:
    return new_learner(load_policy(model_dir, config), examples, config)


class Course:
    """One run of the loop, and what it told."""

    def __init__(
        self,
        learner: Learner,
        config: GrpoConfig,
        checkpoints: Path,
        *,
        score: Score,
        sampler: Sampler | None = None,
    ) -> None:
        self.steps: list[StepMetrics] = []
        self.asked: list[str] = []
        self.reason = train(
            learner,
            config,
            checkpoints=checkpoints,
            tell=self.steps.append,
            score=score,
            sampler=sampler or NeverTruncated(),
            show=self._note,
        )

    def _note(self, _: int, groups: Sequence[Group]) -> None:
        self.asked += [group.example.id for group in groups]


class NeverTruncated(LocalSampler):
    """Lets a random model, which hardly ever ends a reply, be paid for one that was cut."""

    def sample(self, *args: Any, **options: Any) -> list[list[Sample]]:
        sampled = super().sample(*args, **options)
        return [[replace(sample, finish_reason="stop") for sample in group] for group in sampled]


@pytest.mark.slow
def test_the_policy_learns_what_is_rewarded(
    tiny_agent_dir: Path, make_examples: Make, tmp_path: Path
) -> None:
    config = GrpoConfig(steps=24, prompts_per_step=4, max_tokens=16, learning_rate=3e-3)
    learner = learner_of(tiny_agent_dir, make_examples(["on"] * 8), config)
    course = Course(learner, config, tmp_path, score=score, sampler=LocalSampler())
    rewards = [step.reward for step in course.steps]
    assert sum(rewards[-8:]) / 8 > 0.53  # 0.45 untrained, give or take 0.03
    assert course.steps[-1].kl > course.steps[0].kl


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """So many threads for torch, and afterwards as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("refill_with", ["next", "unsure"])
def test_a_run_that_was_cut_in_two_ends_bit_for_bit_like_one_that_was_not(
    tiny_model_dir: Path, make_examples: Make, tmp_path: Path, refill_with: str
) -> None:
    examples = make_examples(["on", "off", "", "on", "on"])
    settings = SMALL | {"steps": 4, "group_size": 8, "learning_rate": 0.01, "checkpoint_every": 2}
    refilled: dict[str, Any] = {**settings, "refill_with": refill_with}
    config, half = GrpoConfig(**refilled), GrpoConfig(**refilled | {"steps": 2})
    whole = learner_of(tiny_model_dir, examples, config)
    told = Course(whole, config, tmp_path / "whole", score=has_vowel).steps

    Course(learner_of(tiny_model_dir, examples, half), half, tmp_path / "cut", score=has_vowel)
    found = latest_checkpoint(tmp_path / "cut")
    second = learner_of(tiny_model_dir, examples, config)
    restore(found.tensors, second.policy, optimizer=second.optimizer, generator=second.generator)
    second.order.restore(found.progress.order)
    second.progress = found.progress
    rest = Course(second, config, tmp_path / "cut", score=has_vowel).steps

    assert found.progress.step == 2
    assert [s.loss for s in told[2:]] == [s.loss for s in rest]
    assert any(s.loss for s in rest)
    expected = whole.policy.trainable()
    assert all(torch.equal(w, expected[n]) for n, w in second.policy.trainable().items())


@pytest.mark.parametrize(
    ("lively", "sizes"), [(0, [4, 4]), (1, [4, 4]), (2, [4, 4]), (3, [4, 2, 2])]
)
def test_what_is_missing_is_sampled_in_as_few_goes_as_may_do(
    tiny_model_dir: Path, make_examples: Make, tmp_path: Path, lively: int, sizes: list[int]
) -> None:
    config = GrpoConfig(**SMALL | {"prompts_per_step": 4, "steps": 1})
    learner = learner_of(tiny_model_dir, make_examples(["on"] * 9), config)
    sampler, scored = CountsGoes(), itertools.count()

    def first_few(text: str, **_: Any) -> Reward:
        group, rollout = divmod(next(scored), config.group_size)
        return Reward(float(group < lively and rollout == 0), "")

    Course(learner, config, tmp_path, score=first_few, sampler=sampler)
    assert sampler.sizes == sizes


class CountsGoes(NeverTruncated):
    """Notes how many prompts are sampled at once."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def sample(self, policy: Policy, prompts: Any, **options: Any) -> list[list[Sample]]:
        self.sizes.append(len(prompts))
        return super().sample(policy, prompts, **options)


def test_flat_groups_make_room_for_prompts_that_had_spread(
    tiny_model_dir: Path, make_examples: Make, tmp_path: Path
) -> None:
    examples = make_examples(["on", *["off"] * 15])

    def lively(text: str, *, tools: Sequence[ToolSpec], target: Target) -> Reward:
        is_lively = target == examples[0].target
        return has_vowel(text, tools=tools, target=target) if is_lively else Reward(0.0, "")

    seen: dict[str, list[str]] = {}
    for refill_with in ("next", "unsure"):
        config = GrpoConfig(
            **SMALL | {"steps": 16, "group_size": 8}, refill_with=refill_with, flat_steps=16
        )
        learner = learner_of(tiny_model_dir, examples, config)
        course = Course(learner, config, tmp_path / refill_with, score=lively)
        seen[refill_with] = course.asked
    often = {name: ids.count(examples[0].id) for name, ids in seen.items()}
    assert often["unsure"] > often["next"] + 2


@pytest.mark.parametrize(
    ("value", "reason"), [(0.0, "no group had spread"), (1.0, "solved: at least 95%")]
)
def test_flat_groups_end_a_run_without_an_update(
    tiny_model_dir: Path, make_examples: Make, tmp_path: Path, value: float, reason: str
) -> None:
    config = GrpoConfig(**SMALL | {"steps": 50}, refill=1.5)
    learner = learner_of(tiny_model_dir, make_examples(["on"] * 9), config)
    course = Course(learner, config, tmp_path, score=constant(value))
    assert course.reason.startswith(reason)
    assert learner.progress.updates == 0
    assert learner.progress.step == 3
    assert (learner.progress.all_right, learner.progress.all_wrong) == (
        (15, 0) if value else (0, 15)
    )
    assert [step.groups for step in course.steps] == [5, 5, 5]  # 2, refilled up to 2 + 3
    assert all(step.flat_share == 1.0 and step.trained == 0 for step in course.steps)


def test_the_time_limit_ends_a_run_after_its_step(
    tiny_model_dir: Path, make_examples: Make, tmp_path: Path
) -> None:
    config = GrpoConfig(**SMALL, time_limit_s=1e-9)
    learner = learner_of(tiny_model_dir, make_examples(["on"]), config)
    course = Course(learner, config, tmp_path, score=constant(0.0))
    assert "time limit" in course.reason
    assert len(course.steps) == 1
    assert latest_checkpoint(tmp_path).progress.step == 1


def test_a_run_that_diverges_keeps_the_last_good_weights(
    tiny_model_dir: Path, make_examples: Make, tmp_path: Path
) -> None:
    config = GrpoConfig(**SMALL | {"steps": 9, "group_size": 16}, learning_rate=1e30)
    learner = learner_of(tiny_model_dir, make_examples(["on"] * 4), config)
    with pytest.raises(Diverged, match="--resume and a lower --learning-rate"):
        Course(learner, config, tmp_path, score=has_vowel)
    found = latest_checkpoint(tmp_path)
    assert found.progress == learner.progress
    weights = [t for name, t in found.tensors.items() if name.startswith("weight/")]
    assert all(torch.isfinite(weight).all() for weight in weights)


def test_a_run_that_explodes_keeps_the_checkpoint_from_before(
    tiny_model_dir: Path, make_examples: Make, tmp_path: Path
) -> None:
    config = GrpoConfig(
        **SMALL | {"steps": 9, "group_size": 16}, learning_rate=0.5, max_kl=1e-3,
        checkpoint_every=1,
    )  # fmt: skip
    learner = learner_of(tiny_model_dir, make_examples(["on"] * 4), config)
    with pytest.raises(Exploded, match="--resume and a lower"):
        Course(learner, config, tmp_path, score=has_vowel)
    assert 1 <= latest_checkpoint(tmp_path).progress.step <= learner.progress.step < 9
