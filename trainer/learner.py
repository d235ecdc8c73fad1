"""What changes while a run goes on: policy, optimizer, sampler, order of examples, progress."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import torch

from tooln1_agent.examples import Example
from trainer.checkpoint import Progress, capture, latest_checkpoint, restore, save_checkpoint
from trainer.config import GrpoConfig, default_learning_rate
from trainer.distributed import from_first
from trainer.errors import NothingToTrain
from trainer.logged import Logged
from trainer.passes import Budget
from trainer.policy import Policy
from trainer.rollout import prompt_ids
from trainer.run import Run
from trainer.selection import PromptOrder, kept_back


@dataclass(slots=True)
class Learner:
    """All of it; a checkpoint holds what is needed to make it again."""

    policy: Policy
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    order: PromptOrder
    progress: Progress
    budget: Budget
    validation: Sequence[Example] = ()
    """Examples that are never learned from (see `validation`)."""
    logged: Mapping[str, Logged] = field(default_factory=dict)
    """Replies that join the groups of their examples, by the example's id."""

    def save(self, checkpoints: Path) -> None:
        """Write a checkpoint of the present step; any number of processes can go on from it."""
        tensors = capture(self.policy, self.optimizer, self.generator)
        from_first(lambda: save_checkpoint(checkpoints, self.progress, tensors))


def new_learner(
    policy: Policy,
    examples: Sequence[Example],
    config: GrpoConfig,
    *,
    known_until: datetime | None = None,
) -> Learner:
    """Make a learner at step 0.

    Args:
        known_until: examples labelled after this instant are new to the policy.
    """
    rate = config.learning_rate
    if rate is None:
        rate = default_learning_rate(policy.base_parameters)
    optimizer = torch.optim.AdamW(
        list(policy.trainable().values()), lr=rate, weight_decay=config.weight_decay
    )
    generator = torch.Generator(policy.device).manual_seed(config.seed)
    order = PromptOrder(examples, config, known_until=known_until)
    return Learner(
        policy,
        optimizer,
        generator,
        order,
        Progress(order=order.state),
        Budget(config.tokens_per_pass),
    )


def learner_of(
    run: Run, policy: Policy, config: GrpoConfig, *, say: Callable[[str], None]
) -> Learner:
    """Make the learner of a run: as its newest whole checkpoint says, or at step 0.

    Raises NothingToTrain where every prompt is too long, CheckpointError where all checkpoints
    are damaged.
    """
    examples = _that_fit(run.examples(), policy, config, say=say)
    validation = kept_back(examples, share=config.validation_share)
    if validation:
        kept = {example.id for example in validation}
        examples = [example for example in examples if example.id not in kept]
    learner = new_learner(policy, examples, config, known_until=run.manifest.known_until)
    learner.validation = validation
    if config.logged_replies:
        learner.logged = {reply.example: reply for reply in run.logged()}
    if not from_first(run.checkpoints.is_dir):
        learner.save(run.checkpoints)
        return learner
    found = latest_checkpoint(run.checkpoints)
    restore(found.tensors, policy, optimizer=learner.optimizer, generator=learner.generator)
    learner.order.restore(found.progress.order)
    learner.progress = found.progress
    return learner


def _that_fit(
    examples: Sequence[Example],
    policy: Policy,
    config: GrpoConfig,
    *,
    say: Callable[[str], None],
) -> list[Example]:
    """Leave out examples whose prompt and longest rollout do not fit the context."""
    limit = config.context_limit or policy.context_limit
    room = limit - config.max_tokens
    kept = [e for e in examples if len(prompt_ids(e, policy.codec)) <= room]
    if not kept:
        raise NothingToTrain(
            f"every one of {len(examples)} prompts is longer than the {room} tokens that the "
            f"context limit of {limit} leaves beside {config.max_tokens} for the rollout; raise "
            "--context-limit or lower --max-tokens"
        )
    if len(kept) < len(examples):
        say(f"{len(examples) - len(kept)} examples are left out: longer than {room} tokens")
    return kept
