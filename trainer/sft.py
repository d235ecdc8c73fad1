"""Learning from gold calls: replies that make them, imitated token by token.

Only the tokens of the reply are learned, not the prompt's. Examples whose label names no calls are
passed over; only GRPO can learn from them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from tooln1_agent.examples import Example
from tooln1_agent.reward import Reward, Score, score
from trainer.checkpoint import Progress
from trainer.config import GrpoConfig
from trainer.demonstration import Demonstration, demonstrations, gold_calls
from trainer.distributed import as_first
from trainer.errors import Diverged, NothingToTrain
from trainer.learner import Learner
from trainer.metrics import StepMetrics
from trainer.passes import Share
from trainer.rollout import Group, Rollout, sample_groups
from trainer.sampler import Sampler
from trainer.update import UpdateStats, step
from trainer.validation import validate


def imitate(
    learner: Learner,
    config: GrpoConfig,
    *,
    checkpoints: Path,
    tell: Callable[[StepMetrics], None],
    score: Score = score,
    sampler: Sampler | None = None,
) -> None:
    """Train on gold calls until `config.imitation_steps` or the time are over.

    Args:
        checkpoints: directory for them.
        tell: is told of each step.
        sampler: who samples thoughts; this process if not given.

    Raises NothingToTrain where no label has calls, Diverged as GRPO does.
    """
    examples = learner.order.examples
    if config.imitation_steps and not any(gold_calls(e) is not None for e in examples):
        raise NothingToTrain(
            f"none of {len(examples)} examples has calls to imitate; --method grpo learns from "
            "labels that say only whether a reply is right"
        )
    limit = config.time_limit_s or math.inf
    while learner.progress.step < config.imitation_steps and learner.progress.trained_s < limit:
        began = time.perf_counter()
        drawn = learner.order.draw(config.prompts_per_step)
        drawn = [example for example in drawn if gold_calls(example) is not None]
        groups = _thinking(learner, drawn, config, sampler)
        shown = demonstrations(drawn, learner.policy.codec, groups=groups)
        sampled = time.perf_counter()
        try:
            stats = _learn(learner, shown, config)
        except Diverged:
            learner.save(checkpoints)
            raise
        done = time.perf_counter()
        learner.progress = _advance(learner, bool(shown), seconds=as_first(done - began))
        is_last = learner.progress.step == config.steps or learner.progress.trained_s >= limit
        checked = validate(learner, config, is_last=is_last, score=score, sampler=sampler)
        metrics = _metrics(learner, shown, groups, stats, times=(began, sampled, done))
        tell(replace(metrics, validation=checked.accuracy, validation_s=checked.seconds))
        if learner.progress.step % config.checkpoint_every == 0:
            learner.save(checkpoints)


def _advance(learner: Learner, learned: bool, *, seconds: float) -> Progress:
    before = learner.progress
    changes = {
        "step": before.step + 1,
        "updates": before.updates + learned,
        "order": learner.order.state,
        "trained_s": before.trained_s + seconds,
    }
    return before.model_copy(update=changes)


def _thinking(
    learner: Learner, drawn: Sequence[Example], config: GrpoConfig, sampler: Sampler | None
) -> list[Group]:
    """Sample replies for their thoughts, where these are wanted."""
    if config.thoughts == "short" or not drawn:
        return []
    return sample_groups(
        learner.policy, drawn, config=config, generator=learner.generator, sampler=sampler
    )


def _learn(learner: Learner, shown: Sequence[Demonstration], config: GrpoConfig) -> UpdateStats:
    """Take one step on the mean of minus the log-prob over all tokens of the replies."""
    if not shown:
        return UpdateStats()
    nobodys: tuple[float, ...] = ()  # log-probs: no policy sampled these
    shares = [
        Share(
            d.prompt_ids, (Rollout(d.completion_ids, nobodys, "", Reward(1.0, ""), False),), (1.0,)
        )
        for d in shown
    ]
    # With advantage 1 and nobody's ratio, CISPO's loss is the likelihood's.
    plain = {"loss": "cispo"}
    return step(
        learner.policy,
        learner.optimizer,
        shares=shares,
        normaliser=float(sum(len(d.completion_ids) for d in shown)),
        config=config.model_copy(update=plain),
        budget=learner.budget,
    )


def _metrics(
    learner: Learner,
    shown: Sequence[Demonstration],
    groups: Sequence[Group],
    stats: UpdateStats,
    *,
    times: tuple[float, float, float],
) -> StepMetrics:
    began, sampled, done = times
    rewards = [reward for group in groups for reward in group.rewards]
    count = max(1, len(shown))
    return StepMetrics(
        step=learner.progress.step,
        reward=sum(rewards) / len(rewards) if rewards else None,
        call_reward=None,
        no_call_reward=None,
        flat_share=0.0,
        right_share=0.0,
        groups=len(groups),
        trained=len(shown),
        truncated_share=0.0,
        mean_tokens=sum(len(d.completion_ids) for d in shown) / count,
        prompt_tokens=sum(len(d.prompt_ids) for d in shown) / count,
        tokens_per_s=sum(group.tokens for group in groups) / max(sampled - began, 1e-9),
        sample_s=sampled - began,
        update_s=done - sampled,
        trained_s=learner.progress.trained_s,
        **stats._asdict(),
    )
