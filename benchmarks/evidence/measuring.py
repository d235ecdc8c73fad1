"""Greedy replies to fresh requests, and what they are worth: calls and no calls, form and content.

Every arm is asked the same questions through the engine that serves, with the same decoding.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import get_args

import torch

from tooln1_agent.adapters import Adapter
from tooln1_agent.engines.local.engine import LocalEngine
from tooln1_agent.engines.resolve import model_dir
from tooln1_agent.examples import Example, example_id
from tooln1_agent.gate_run import replies
from tooln1_agent.parsing import parse
from tooln1_agent.reward import judge
from trainer.seed.deployment import Deployment
from trainer.seed.evaluate import Probe, Seed, deployment_probes, spread, world_probes
from trainer.seed.scene import Disclosure

Figures = dict[str, float]
MAX_TOKENS = 200
_AT_ONCE = 32
_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


def held_out(deployment: Deployment, *, seed: int, count: int) -> list[Example]:
    """Draw requests of a deployment that its traffic never holds."""
    return [_question(probe) for probe in deployment_probes(deployment, seed, count)]


def labelled(deployment: Deployment, *, seed: int, count: int) -> list[Example]:
    """Draw requests of a deployment's traffic, with the calls that are right, to learn from."""
    drawn = deployment.requests(seed, count)
    probes = [Probe(deployment.messages(r), deployment.tools, r.target, r.tool) for r in drawn]
    return [_question(probe).model_copy(update={"split": "train"}) for probe in probes]


def old_skills(*, seed: int, count: int) -> list[Example]:
    """Draw fresh episodes of the world, a third with the conventions in each of three places."""
    places: tuple[Disclosure, ...] = get_args(Disclosure)
    probes = [
        probe
        for place in places
        for probe in world_probes(seed, count // len(places), disclosure=place)
    ]
    return [_question(probe) for probe in probes]


def ask(
    model: str, *questions: Sequence[Example], adapter: Adapter | None, threads: int
) -> list[list[str]]:
    """Return a greedy completion for each question of each list."""

    async def go() -> list[list[str]]:
        engine = LocalEngine(model_dir(model), threads=threads)
        version = None if adapter is None else adapter.version
        try:
            if adapter is not None:
                await engine.load_adapter(adapter.version, adapter.path)
            return [
                await replies(
                    engine, part, adapter=version, max_tokens=MAX_TOKENS, concurrency=_AT_ONCE
                )
                for part in questions
            ]
        finally:
            await engine.aclose()

    return asyncio.run(go())


def figures(questions: Sequence[Example], texts: Sequence[str]) -> Figures:
    """Return shares in percent: right replies, of calls and of no calls; form and content apart.

    "well_formed" replies have no format fault; "tools" call the right tools, and "calls" make the
    right calls, whatever their form; "right" are well formed and make the right calls.
    """
    parsed = [parse(text) for text in texts]
    pairs = list(zip(questions, parsed, strict=True))
    calls = [judge(r.calls, tools=q.tools, target=q.target).value == 1.0 for q, r in pairs]
    formed = [not reply.faults for reply in parsed]
    tools = [
        sorted(call.name for call in reply.calls) == _wanted_tools(question)
        for question, reply in pairs
    ]
    right = [c and f for c, f in zip(calls, formed, strict=True)]
    return {
        "right": _percent(right),
        "call": _percent([ok for ok, (q, _) in zip(right, pairs, strict=True) if q.is_call]),
        "no_call": _percent([ok for ok, (q, _) in zip(right, pairs, strict=True) if not q.is_call]),
        "well_formed": _percent(formed),
        "tools": _percent(tools),
        "calls": _percent(calls),
    }


def spread_at_start(
    model: str, deployment: Deployment, *, seed: int, groups: int, threads: int
) -> Figures:
    """Return the share of groups of eight samples with both right and wrong, and the mean reward.

    In percent, at temperature 1, on held-out requests.
    """
    torch.set_num_threads(threads)
    probes = deployment_probes(deployment, seed, groups)
    found = spread(Seed(model_dir(model)), probes)
    return {"with_spread": 100 * found["with_spread"], "mean_reward": 100 * found["mean"]}


def _question(probe: Probe) -> Example:
    return Example(
        id=example_id(probe.messages, probe.tools),
        messages=probe.messages,
        tools=probe.tools,
        target=probe.target,
        split="holdout",
        source="dataset",
        created_at=_LONG_AGO,
    )


def _wanted_tools(question: Example) -> list[str]:
    alternatives = getattr(question.target, "alternatives", ((),))
    return sorted(call.name for call in alternatives[0])


def _percent(claims: Sequence[bool]) -> float:
    return 100 * sum(claims) / len(claims) if claims else 0.0
