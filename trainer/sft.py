"""Learning from gold calls: replies that make them, imitated token by token.

A demonstration is a reply with a thought and the calls of the label. Only its tokens are learned,
not the prompt's. Labels that give no calls to write (any call, a rule on the outcome) are passed
over; only GRPO can learn from them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tool_registry.calls import ToolCall
from tooln1_agent.codec import Codec
from tooln1_agent.examples import Exact, Example, NoCall
from tooln1_agent.parsing import parse
from tooln1_agent.prompt import calls_text, ours, theirs
from tooln1_agent.reward import Reward
from trainer.checkpoint import Progress
from trainer.config import GrpoConfig
from trainer.errors import Diverged, NothingToTrain
from trainer.learner import Learner
from trainer.metrics import StepMetrics
from trainer.passes import Share
from trainer.rollout import Group, Rollout, prompt_ids, sample_groups
from trainer.sampler import Sampler
from trainer.update import UpdateStats, step


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A prompt and the reply to imitate."""

    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]


def imitate(
    learner: Learner,
    config: GrpoConfig,
    *,
    examples: Sequence[Example],
    checkpoints: Path,
    tell: Callable[[StepMetrics], None],
    sampler: Sampler | None = None,
) -> None:
    """Train on gold calls until `config.imitation_steps` or the time are over.

    Args:
        examples: all that the learner draws from.
        checkpoints: directory for them.
        tell: is told of each step.
        sampler: who samples thoughts; this process if not given.

    Raises NothingToTrain where no label has calls, Diverged as GRPO does.
    """
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
        learner.progress = _advance(learner, bool(shown), seconds=done - began)
        tell(_metrics(learner, shown, groups, stats, times=(began, sampled, done)))
        if learner.progress.step % config.checkpoint_every == 0:
            learner.save(checkpoints)


def _advance(learner: Learner, learned: bool, *, seconds: float) -> Progress:
    before = learner.progress
    changes = {
        "step": before.step + 1,
        "updates": before.updates + learned,
        "drawn": learner.order.drawn,
        "trained_s": before.trained_s + seconds,
    }
    return before.model_copy(update=changes)


def gold_calls(example: Example) -> tuple[ToolCall, ...] | None:
    """Return the calls of an example's label, none where nothing fits; None where it has none."""
    match example.target:
        case Exact(alternatives=alternatives):
            return tuple(alternatives[0])
        case NoCall():
            return ()
        case _:
            return None


def demonstrations(
    examples: Sequence[Example], codec: Codec, *, groups: Sequence[Group] = ()
) -> list[Demonstration]:
    """Write the reply that each example's label asks for, where it asks for one.

    Args:
        groups: rollouts of each example to take a thought from, of a right one if there is one.
    """
    made = []
    for number, example in enumerate(examples):
        calls = gold_calls(example)
        if calls is None:
            continue
        thought = (_own_thought(groups[number]) if groups else None) or short_thought(calls)
        opening, closing = ours("<think>"), ours("</think>\n<tool_call>")
        reply = [opening, theirs(thought), closing, theirs(calls_text(calls)), ours("</tool_call>")]
        ids = (*codec.encode(reply), codec.end_id)
        made.append(Demonstration(prompt_ids(example, codec), ids))
    return made


def short_thought(calls: Sequence[ToolCall]) -> str:
    """Say in a sentence what the calls do."""
    if not calls:
        return "No function fits this request."
    return f"I call {' and '.join(call.name for call in calls)}."


def _own_thought(group: Group) -> str | None:
    best_first = sorted(group.rollouts, key=lambda rollout: -rollout.reward.value)
    thoughts = (parse(rollout.text).think for rollout in best_first)
    return next((thought for thought in thoughts if thought and thought.strip()), None)


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
    plain = {"loss": "cispo", "beta": 0.0, "kl_on_flat": "skip"}
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
