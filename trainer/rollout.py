"""Rollouts: what the policy samples for training, and what that is worth."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import torch

from tooln1_agent.codec import Codec
from tooln1_agent.engines.local.generate import Sample
from tooln1_agent.examples import Example
from tooln1_agent.messages import Sampling
from tooln1_agent.reward import Reward, Score, score
from trainer.config import GrpoConfig
from trainer.distributed import divided
from trainer.errors import Diverged
from trainer.logged import Logged
from trainer.policy import Policy
from trainer.sampler import LocalSampler, Sampler

TRUNCATED = Reward(0.0, "truncated")


@dataclass(frozen=True, slots=True)
class Rollout:
    """One completion sampled for training, scored."""

    completion_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    """For each id, in nats, under the policy that sampled it, at temperature 1."""
    text: str
    reward: Reward
    truncated: bool
    drawn_with: tuple[float, ...] = ()
    """For each id of a logged reply, which has no `logprobs`, the log-prob when it was drawn."""

    @property
    def is_drawn(self) -> bool:
        """Whether a policy drew it, so that its tokens tell how far that is from another."""
        return bool(self.logprobs or self.drawn_with)


@dataclass(frozen=True, slots=True)
class Group:
    """The rollouts of one example."""

    example: Example
    prompt_ids: tuple[int, ...]
    rollouts: tuple[Rollout, ...]
    logged: Rollout | None = None
    """What was served for the example, where that joins in."""
    shown: Rollout | None = None
    """What its label asks for, where that joins in: no policy drew it, so it has no log-probs."""

    @property
    def members(self) -> tuple[Rollout, ...]:
        """What is learned from: what was sampled, and then what was served, and what was shown."""
        guests = (self.logged, self.shown)
        return (*self.rollouts, *(guest for guest in guests if guest is not None))

    @property
    def rewards(self) -> tuple[float, ...]:
        """Those of all members."""
        return tuple(member.reward.value for member in self.members)

    @property
    def has_spread(self) -> bool:
        """Whether the members differ in reward; a group that is flat teaches nothing."""
        return max(self.rewards) > min(self.rewards)

    @property
    def is_right(self) -> bool:
        """Whether every rollout that was sampled is right."""
        return all(rollout.reward.value > 0 for rollout in self.rollouts)

    @property
    def tokens(self) -> int:
        """How many tokens were sampled."""
        return sum(len(rollout.completion_ids) for rollout in self.rollouts)


def prompt_ids(example: Example, codec: Codec) -> tuple[int, ...]:
    """Return the ids of an example's prompt: those a served request of its content has."""
    return tuple(codec.prompt_ids(example.messages, example.tools))


def sample_groups(
    policy: Policy,
    examples: Sequence[Example],
    *,
    config: GrpoConfig,
    generator: torch.Generator,
    score: Score = score,
    sampler: Sampler | None = None,
    logged: Mapping[str, Logged] = MappingProxyType({}),
    greedy: bool = False,
) -> list[Group]:
    """Sample and score a group for each example.

    Args:
        sampler: who samples; the processes that train if not given.
        logged: replies that join the group of the example with this id.
        greedy: have groups of one rollout, the likeliest token taken at each place.

    Raises Diverged where the policy's probabilities are no numbers any more.
    """
    sampler = sampler or LocalSampler(rows_per_batch=config.rows_per_batch)
    prompts = [prompt_ids(example, policy.codec) for example in examples]
    sampled = sampler.sample(
        policy,
        prompts,
        n=1 if greedy else config.group_size,
        sampling=Sampling(
            temperature=0.0 if greedy else config.temperature, max_tokens=config.max_tokens
        ),
        generator=generator,
    )

    def judge(mine: Sequence[tuple[Example, tuple[int, ...], list[Sample]]]) -> list[Group]:
        groups: list[Group] = []
        for example, ids, samples in mine:
            rollouts = tuple(_rollout(s, example, codec=policy.codec, score=score) for s in samples)
            group = Group(example, ids, rollouts)
            if (reply := logged.get(example.id)) is not None:
                served = _served(reply, example, codec=policy.codec, score=score)
                group = replace(group, logged=served)
            groups.append(group)
        return groups

    return divided(list(zip(examples, prompts, sampled, strict=True)), judge)


def _served(reply: Logged, example: Example, *, codec: Codec, score: Score) -> Rollout:
    text = codec.decode(reply.completion_ids)
    reward = score(text, tools=example.tools, target=example.target)
    return Rollout(reply.completion_ids, (), text, reward, False, drawn_with=reply.logprobs)


def _rollout(sample: Sample, example: Example, *, codec: Codec, score: Score) -> Rollout:
    if not all(map(math.isfinite, sample.logprobs)):
        raise Diverged(
            f"a sampled token for example {example.id!r} has no finite log-prob: the policy has "
            "diverged. Go on from the last checkpoint with --resume and a lower --learning-rate"
        )
    text = codec.decode(sample.ids)
    truncated = sample.finish_reason == "length"
    reward = TRUNCATED if truncated else score(text, tools=example.tools, target=example.target)
    return Rollout(sample.ids, sample.logprobs, text, reward, truncated)
