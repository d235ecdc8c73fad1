"""How the policy does, greedily, on a few examples that it never learns from.

They are of the training side (`selection.kept_back`): what the gate judges by is not looked at
before the gate. When they are asked follows from the step alone, and nothing random is used up, so
a run that goes on tells what it would have told.
"""

from __future__ import annotations

import time
from typing import NamedTuple

import torch

from tooln1_agent.reward import Score
from trainer.config import GrpoConfig
from trainer.learner import Learner
from trainer.rollout import sample_groups
from trainer.sampler import Sampler


class Validation(NamedTuple):
    """What came of asking."""

    accuracy: float | None = None
    """Share of the examples that earned the reward; None where none was asked."""
    seconds: float = 0.0


def validate(
    learner: Learner,
    config: GrpoConfig,
    *,
    is_last: bool,
    score: Score,
    sampler: Sampler | None,
) -> Validation:
    """Ask the examples kept back, if the present step is one after which that is due."""
    step = learner.progress.step
    is_due = is_last or step == 1 or step % config.validation_every == 0
    if not learner.validation or not is_due:
        return Validation()
    began = time.perf_counter()
    groups = sample_groups(
        learner.policy,
        learner.validation,
        config=config,
        generator=torch.Generator(learner.policy.device),  # greedy: nothing is drawn from it
        score=score,
        sampler=sampler,
        greedy=True,
    )
    right = sum(group.is_right for group in groups)
    return Validation(right / len(groups), time.perf_counter() - began)
