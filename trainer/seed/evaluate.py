"""Measures a model directory: exact accuracy on fresh episodes and on deployments."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from tool_registry.tool import ToolSpec
from tooln1_agent.codec import Codec
from tooln1_agent.examples import Exact, NoCall
from tooln1_agent.messages import Message
from tooln1_agent.prompt import render
from tooln1_agent.reward import score
from trainer.seed.deployment import Deployment
from trainer.seed.world import Disclosure, draw_episode


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
        self.model: Any = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
        self.model.eval()

    @torch.no_grad()
    def replies(
        self, probes: Sequence[Probe], *, temperature: float = 0.0, batch: int = 32
    ) -> list[str]:
        """Return one completion for each probe: greedy, or sampled at a temperature."""
        order = sorted(range(len(probes)), key=lambda i: len(self._prompt(probes[i])))
        texts = [""] * len(probes)
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            prompts = [self._prompt(probes[i]) for i in chosen]
            width = max(map(len, prompts))
            pad = self.model.config.pad_token_id
            ids = torch.tensor([[pad] * (width - len(p)) + p for p in prompts])
            mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
            sampling = (
                {"do_sample": True, "temperature": temperature, "top_k": 0}
                if temperature
                else {"do_sample": False}
            )
            out = self.model.generate(
                input_ids=ids, attention_mask=mask, max_new_tokens=200, **sampling
            )
            for i, row in zip(chosen, out[:, width:].tolist(), strict=True):
                end = row.index(self.codec.end_id) + 1 if self.codec.end_id in row else len(row)
                texts[i] = self.codec.decode(row[:end])
        return texts

    def _prompt(self, probe: Probe) -> list[int]:
        return self.codec.encode(render(probe.messages, probe.tools))


def world_probes(seed: int, count: int, *, disclosure: Disclosure) -> list[Probe]:
    """Draw fresh episodes of the training world as probes."""
    probes = []
    for number in range(count):
        episode = draw_episode(random.Random(f"probe {seed} {number}"), disclosure=disclosure)
        target = Exact(alternatives=(episode.calls,)) if episode.calls else NoCall()
        probes.append(Probe(episode.messages, episode.tools, target, episode.situation))
    return probes


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
