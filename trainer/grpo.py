"""The GRPO loop (Tool-N1, arXiv 2505.00024): sample groups, drop flat ones, update, checkpoint."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tooln1_agent.examples import Example
from tooln1_agent.reward import Score, score
from trainer.checkpoint import Progress
from trainer.config import GrpoConfig
from trainer.demonstration import with_gold
from trainer.distributed import as_first
from trainer.errors import Diverged, Exploded
from trainer.learner import Learner
from trainer.metrics import StepMetrics
from trainer.passes import is_held
from trainer.rollout import Group, sample_groups
from trainer.sampler import Sampler
from trainer.update import UpdateStats, update
from trainer.validation import validate


def train(
    learner: Learner,
    config: GrpoConfig,
    *,
    checkpoints: Path,
    tell: Callable[[StepMetrics], None],
    score: Score = score,
    sampler: Sampler | None = None,
    show: Callable[[int, Sequence[Group]], None] | None = None,
) -> str:
    """Train until the steps, the time or the lesson are over; return why it stopped, in words.

    Args:
        checkpoints: directory for them.
        tell: is told of each step.
        sampler: who samples rollouts; this process if not given.
        show: is shown the groups of each step.

    Raises Diverged; the state before the step that went wrong is then the newest checkpoint.
    """
    while (reason := _why_stop(learner.progress, config)) is None:
        timer = _Timer()
        try:
            with timer.phase("sample"):
                sampled = _sample(learner, config, score=score, sampler=sampler)
            batch = _batch(sampled, config)
            with timer.phase("update"):
                stats = update(
                    learner.policy,
                    learner.optimizer,
                    groups=batch,
                    config=config,
                    budget=learner.budget,
                )
        except Exploded:  # what is newest on disk is from before
            raise
        except Diverged:
            learner.save(checkpoints)
            raise
        learner.progress = _advance(learner, sampled, config, seconds=as_first(timer.total))
        is_last = _why_stop(learner.progress, config) is not None
        checked = validate(learner, config, is_last=is_last, score=score, sampler=sampler)
        in_turn = _in_turn(sampled, config)
        metrics = _metrics(learner.progress, sampled, stats, timer, in_turn=in_turn)
        tell(replace(metrics, validation=checked.accuracy, validation_s=checked.seconds))
        if show is not None:
            show(learner.progress.step, sampled)
        if learner.progress.step % config.checkpoint_every == 0:
            learner.save(checkpoints)
    learner.save(checkpoints)
    return reason


def _sample(
    learner: Learner, config: GrpoConfig, *, score: Score, sampler: Sampler | None
) -> list[Group]:
    """Sample groups until enough have spread, or the limit on prompts is reached."""
    groups: list[Group] = []
    while (count := _wanted(groups, config)) > 0:
        sampled = sample_groups(
            learner.policy,
            _prompts(learner, count, config, beside=groups),
            config=config,
            generator=learner.generator,
            score=score,
            sampler=sampler,
            logged=learner.logged,
        )
        if config.show_gold:
            codec, limit = learner.policy.codec, config.max_tokens
            sampled = with_gold(sampled, codec, score=score, max_tokens=limit)
        groups += sampled
    return groups


def _wanted(groups: Sequence[Group], config: GrpoConfig) -> int:
    """Return how many more prompts to sample at once, as few in spread as those of the step so far.

    So the limit is mostly reached in two goes; the fewer rows are sampled together, the more each
    of them costs.
    """
    if not groups:
        return config.prompts_per_step
    lively = sum(group.has_spread for group in groups)
    likely = (lively + 1) / (len(groups) + 2)  # rule of succession
    missing = config.prompts_per_step - lively
    return min(math.ceil(missing / likely), config.prompt_limit - len(groups))


def _prompts(
    learner: Learner, count: int, config: GrpoConfig, *, beside: Sequence[Group]
) -> list[Example]:
    """Draw the next examples, or, in place of flat groups, those that may well have spread."""
    if not beside or config.refill_with == "next":
        return learner.order.draw(count)
    known = {group.example.id for group in beside}
    return learner.order.draw_again(count, step=learner.progress.step, besides=known)


def _batch(sampled: Sequence[Group], config: GrpoConfig) -> list[Group]:
    """Return the groups of the step: those with spread and those that are held to the base model
    by `imported_beta`, filled up with flat ones.

    What a flat group leaves in the batch is its tokens in the normaliser: without refill, the
    update is the one that all groups would have given.
    """
    lively = [group for group in sampled if group.has_spread][: config.prompts_per_step]
    flat = [group for group in sampled if not group.has_spread]
    held = [group for group in flat if is_held(group, config)]
    others = [group for group in flat if not is_held(group, config)]
    return [*lively, *held, *others][: max(config.prompts_per_step, len(lively) + len(held))]


def _why_stop(progress: Progress, config: GrpoConfig) -> str | None:
    if progress.solved_streak >= config.solved_steps:
        return (
            f"solved: at least {config.solved_share:.0%} of the groups were all right in "
            f"{progress.solved_streak} steps in a row"
        )
    if progress.flat_streak >= config.flat_steps:
        return f"no group had spread in {progress.flat_streak} steps in a row"
    if progress.step >= config.steps:
        return f"all {config.steps} steps are done"
    if config.time_limit_s is not None and progress.trained_s >= config.time_limit_s:
        return f"the time limit of {config.time_limit_s:.0f} s is reached"
    return None


def _advance(
    learner: Learner, sampled: Sequence[Group], config: GrpoConfig, *, seconds: float
) -> Progress:
    before = learner.progress
    learner.order.note({g.example.id: g.has_spread for g in sampled}, step=before.step)
    right, wrong, lively = _kinds(sampled)
    in_turn = _in_turn(sampled, config)
    solved = sum(group.is_right for group in in_turn) >= config.solved_share * len(in_turn)
    reward = _mean_reward(in_turn)
    return Progress(
        step=before.step + 1,
        updates=before.updates + (lively > 0),
        order=learner.order.state,
        solved_streak=before.solved_streak + 1 if solved else 0,
        flat_streak=before.flat_streak + 1 if not lively else 0,
        all_right=before.all_right + right,
        all_wrong=before.all_wrong + wrong,
        trained_s=before.trained_s + seconds,
        first_reward=reward if before.first_reward is None else before.first_reward,
        last_reward=reward,
    )


def _in_turn(sampled: Sequence[Group], config: GrpoConfig) -> Sequence[Group]:
    """Return the groups that tell how well the policy does: no prompt was chosen for its spread."""
    return sampled if config.refill_with == "next" else sampled[: config.prompts_per_step]


def _kinds(groups: Sequence[Group]) -> tuple[int, int, int]:
    """Count groups that are all right, all wrong, and neither."""
    right = sum(g.is_right and not g.has_spread for g in groups)
    lively = sum(g.has_spread for g in groups)
    return right, len(groups) - lively - right, lively


def _metrics(
    progress: Progress,
    sampled: Sequence[Group],
    stats: UpdateStats,
    timer: _Timer,
    *,
    in_turn: Sequence[Group],
) -> StepMetrics:
    right, wrong, lively = _kinds(sampled)
    rollouts = [rollout for group in sampled for rollout in group.rollouts]
    tokens = sum(group.tokens for group in sampled)
    return StepMetrics(
        step=progress.step,
        reward=_mean_reward(in_turn),
        call_reward=_reward_or_none([g for g in in_turn if g.example.is_call]),
        no_call_reward=_reward_or_none([g for g in in_turn if not g.example.is_call]),
        flat_share=(right + wrong) / len(sampled),
        right_share=sum(group.is_right for group in in_turn) / len(in_turn),
        groups=len(sampled),
        trained=lively,
        logged=sum(group.logged is not None for group in sampled),
        shown=sum(group.shown is not None for group in sampled),
        truncated_share=sum(r.truncated for r in rollouts) / len(rollouts),
        mean_tokens=tokens / len(rollouts),
        prompt_tokens=sum(len(g.prompt_ids) for g in sampled) / len(sampled),
        tokens_per_s=tokens / max(timer.spent["sample"], 1e-9),
        sample_s=timer.spent["sample"],
        update_s=timer.spent["update"],
        trained_s=progress.trained_s,
        **stats._asdict(),
    )


def _mean_reward(groups: Sequence[Group]) -> float:
    rewards = [rollout.reward.value for group in groups for rollout in group.rollouts]
    return sum(rewards) / len(rewards)


def _reward_or_none(groups: Sequence[Group]) -> float | None:
    return _mean_reward(groups) if groups else None


class _Timer:
    """Seconds spent in each phase of a step."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.spent[name] = time.perf_counter() - began

    @property
    def total(self) -> float:
        return sum(self.spent.values())
