"""Measures a model directory: exact accuracy on fresh episodes and on deployments."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import torch

from tool_registry.tool import ToolSpec
from tooln1_agent.codec import Codec
from tooln1_agent.engines.local.generate import Wanted, sample_rows
from tooln1_agent.engines.local.model import load_base
from tooln1_agent.engines.local.scoring import reply_logprobs
from tooln1_agent.examples import Exact, NoCall
from tooln1_agent.messages import Message, Sampling
from tooln1_agent.reward import score
from trainer.seed.deployment import Deployment
from trainer.seed.packing import reply_ids
from trainer.seed.scene import Disclosure
from trainer.seed.world import Episode, draw_episode

_MAX_TOKENS = 200


@dataclass(frozen=True, slots=True)
class Probe:
    """A prompt with its target, and the situation it belongs to, for the tables."""

    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...]
    target: Exact | NoCall
    situation: str


class Seed:
    """A model directory loaded for measuring."""

    def __init__(self, directory: Path) -> None:
        self.codec = Codec.load(directory)
        self.model = load_base(directory)

    def replies(
        self, probes: Sequence[Probe], *, temperature: float = 0.0, batch: int = 64
    ) -> list[str]:
        """Return one completion for each probe: greedy, or sampled at a temperature."""
        sampling = Sampling(temperature=temperature, max_tokens=_MAX_TOKENS)
        prompts = [self.codec.prompt_ids(probe.messages, probe.tools) for probe in probes]
        generator = torch.Generator().manual_seed(0)
        order = sorted(range(len(probes)), key=lambda i: (len(prompts[i]), i))
        texts = [""] * len(probes)
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            samples = sample_rows(
                self.model,
                [Wanted(prompts[i], sampling) for i in chosen],
                end_ids=self.codec.end_ids,
                generator=generator,
            )
            for i, sample in zip(chosen, samples, strict=True):
                texts[i] = self.codec.decode(sample.ids)
        return texts


def world_episodes(seed: int, count: int, *, disclosure: Disclosure) -> list[Episode]:
    """Draw fresh episodes of the training world."""
    return [
        draw_episode(random.Random(f"probe {seed} {number}"), disclosure=disclosure)
        for number in range(count)
    ]


def world_probes(seed: int, count: int, *, disclosure: Disclosure) -> list[Probe]:
    """Draw fresh episodes of the training world as probes."""
    return [
        Probe(episode.messages, episode.tools, episode.target, episode.situation)
        for episode in world_episodes(seed, count, disclosure=disclosure)
    ]


def deployment_probes(deployment: Deployment, seed: int, count: int) -> list[Probe]:
    """Draw requests of a deployment as probes."""
    return [
        Probe(deployment.messages(r), deployment.tools, r.target, r.tool if r.gold else "no_call")
        for r in deployment.requests(seed, count, held_out=True)
    ]


def accuracy(seed: Seed, probes: Sequence[Probe]) -> dict[str, float]:
    """Return greedy exact accuracy: overall, by situation, and the share of faultless format."""
    rewards = [
        (probe.situation, score(text, tools=probe.tools, target=probe.target))
        for probe, text in zip(probes, seed.replies(probes), strict=True)
    ]
    table = {"all": _mean([reward.value for _, reward in rewards])}
    for situation in sorted({probe.situation for probe in probes}):
        table[situation] = _mean([r.value for name, r in rewards if name == situation])
    table["format"] = _mean([float(not r.reason.startswith("format")) for _, r in rewards])
    return table


def surprise(seed: Seed, episodes: Sequence[Episode]) -> float:
    """Return how unlikely the model finds the reply that an episode should get, in nats.

    The mean over episodes of a whole reply's. It falls smoothly from the first steps of training,
    when no reply is right yet.
    """
    nats = [
        -sum(reply_logprobs(seed.model, prompt, reply_ids(seed.codec, episode)))
        for episode in episodes
        for prompt in [seed.codec.prompt_ids(episode.messages, episode.tools)]
    ]
    return _mean(nats)


def world_table(directory: Path, *, count: int) -> dict[Disclosure, dict[str, float]]:
    """Measure a model directory on `count` fresh episodes for each place of the conventions.

    The figures are those of `accuracy`, and `nats` those of `surprise`.
    """
    seed = Seed(directory)
    table: dict[Disclosure, dict[str, float]] = {}
    for disclosure in get_args(Disclosure):
        probes = world_probes(1, count, disclosure=disclosure)
        nats = surprise(seed, world_episodes(1, count, disclosure=disclosure))
        table[disclosure] = {"nats": nats, **accuracy(seed, probes)}
    return table


def spread(seed: Seed, probes: Sequence[Probe], *, group: int = 8) -> dict[str, float]:
    """Return mean reward at temperature 1 and the share of groups with both right and wrong."""
    repeated = [probe for probe in probes for _ in range(group)]
    texts = seed.replies(repeated, temperature=1.0, batch=64)
    values = [
        score(text, tools=probe.tools, target=probe.target).value
        for probe, text in zip(repeated, texts, strict=True)
    ]
    means = [_mean(values[i : i + group]) for i in range(0, len(values), group)]
    return {"mean": _mean(means), "with_spread": _mean([float(0 < m < 1) for m in means])}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
