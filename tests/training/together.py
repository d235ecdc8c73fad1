"""Functions run by processes that train together, in the environment that torchrun gives them."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import socket
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tool_registry import ToolSpec
from tooln1_agent.engines.local.generate import Sample
from tooln1_agent.errors import ToolN1Error
from tooln1_agent.examples import Example, Target
from tooln1_agent.reward import Reward
from trainer.checkpoint import Progress, latest_checkpoint, restore
from trainer.config import GrpoConfig
from trainer.distributed import from_first, joined
from trainer.grpo import train
from trainer.learner import Learner, new_learner
from trainer.metrics import StepMetrics
from trainer.policy import Policy, load_policy
from trainer.sampler import LocalSampler
from trainer.sft import imitate

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload([__name__])  # what is imported there is forked, and costs little


class Ended(NamedTuple):
    """How one of the processes ended."""

    code: int | None
    made: Any
    """What its function returned; None where that raised."""
    error: str
    """Kind and message of the error of ours that its function left to be told."""


def together(count: int, work: Callable[..., Any], *arguments: Any) -> list[Ended]:
    """Let so many processes run a function; return how each of them ended."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    started = []
    for rank in range(count):
        ours, theirs = _FORKS.Pipe(duplex=False)
        told = (theirs, rank, count, port, work, arguments)
        process = _FORKS.Process(target=_work, args=told)
        process.start()
        theirs.close()
        started.append((process, ours))
    ended = []
    for process, ours in started:
        made, error = _received(ours)
        process.join(10)
        ended.append(Ended(process.exitcode, made, error))
        process.kill()
    return ended


def _received(ours: Connection) -> tuple[Any, str]:
    try:
        return pickle.loads(ours.recv_bytes()) if ours.poll(240) else (None, "it hangs")
    except EOFError:
        return None, "it died"


def _work(
    told: Any, rank: int, count: int, port: int, work: Callable[..., Any], arguments: Sequence[Any]
) -> None:
    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(rank),
        "WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    made, error = None, ""
    try:
        with joined():
            made = work(*arguments)
    except ToolN1Error as raised:
        error = f"{type(raised).__name__}: {raised}"
    finally:
        told.send_bytes(pickle.dumps((made, error)))  # torch would share tensors with the dead


class Course(NamedTuple):
    """What a training came to."""

    reason: str
    progress: Progress
    steps: list[StepMetrics]
    weights: dict[str, Tensor]


def learn(model: Path, examples: list[Example], config: GrpoConfig, checkpoints: Path) -> Course:
    """Train to the end, from the newest checkpoint if there is one; a vowel is what is rewarded."""
    learner = new_learner(load_policy(model, config), examples, config)
    if from_first(checkpoints.is_dir):
        _go_on(learner, checkpoints)
    steps: list[StepMetrics] = []
    shared: dict[str, Any] = {
        "checkpoints": checkpoints,
        "tell": steps.append,
        "sampler": Apart(model, config) if config.shard else NeverTruncated(),
    }
    imitate(learner, config, score=has_vowel, **shared)
    reason = train(learner, config, score=has_vowel, **shared)
    weights = {name: w.detach().clone() for name, w in learner.policy.trainable().items()}
    return Course(reason, learner.progress, steps, weights)


def _go_on(learner: Learner, checkpoints: Path) -> None:
    found = latest_checkpoint(checkpoints)
    parts = {"optimizer": learner.optimizer, "generator": learner.generator}
    restore(found.tensors, learner.policy, **parts)
    learner.order.restore(found.progress.order)
    learner.progress = found.progress


def has_vowel(text: str, *, tools: Sequence[ToolSpec], target: Target) -> Reward:
    """A reward that a random model earns now and then."""
    return Reward(float(any(char in "aeiouAEIOU" for char in text)), "")


class NeverTruncated(LocalSampler):
    """Lets a random model, which hardly ever ends a reply, be paid for one that was cut."""

    def sample(self, *args: Any, **options: Any) -> list[list[Sample]]:
        sampled = super().sample(*args, **options)
        return [[replace(sample, finish_reason="stop") for sample in group] for group in sampled]


class Apart(NeverTruncated):
    """Samples from a whole model of its own that is given the weights, as vLLM is."""

    def __init__(self, model: Path, config: GrpoConfig) -> None:
        super().__init__()
        self._policy = load_policy(model, config.model_copy(update={"shard": False}))

    def sample(self, policy: Policy, *args: Any, **options: Any) -> list[list[Sample]]:
        self._policy.set_weights(policy.trainable())
        return super().sample(self._policy, *args, **options)
