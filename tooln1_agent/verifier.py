"""Judges replies to `Verify` targets by running their calls: only such as may be run again.

Calls run against scratch dependencies that are made for one reply and put away after it, so that
no rollout sees what another did. Every other target is judged by `reward.score`, as ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from tool_registry.calls import ToolCall, ToolResult
from tool_registry.execute import execute
from tool_registry.registry import Registry
from tool_registry.tool import ToolSpec
from tooln1_agent.agent import Agent
from tooln1_agent.examples import Target, Verify
from tooln1_agent.limits import Limits
from tooln1_agent.parsing import parse
from tooln1_agent.replay.collect import ExampleSet
from tooln1_agent.replay.store import ReplayStore
from tooln1_agent.reward import Reward, Score, judge, score, score_reply
from tooln1_agent.rules import Rule


class Verifier:
    """A `Score` that runs calls where the target is a `Verify`. May be shared between threads."""

    def __init__(
        self,
        registry: Registry,
        rules: Mapping[str, Rule],
        *,
        scratch: Callable[[], AbstractContextManager[Any]] = nullcontext,
        limits: Limits = Limits(),
    ) -> None:
        """Say what can be run and asked.

        Args:
            scratch: opens the dependencies that the calls of one reply are run with.
            limits: on the time, number and length of calls and their results.
        """
        self.rules = rules
        self._registry, self._scratch, self._limits = registry, scratch, limits
        # Calls run on a loop of their own, in a thread: the caller may stand in a loop already.
        self._threads = ThreadPoolExecutor(max_workers=1, thread_name_prefix="verifier")

    def __call__(self, text: str, *, tools: Sequence[ToolSpec], target: Target) -> Reward:
        """Score one completion; what a tool or a rule gets wrong is worth 0.0, with the reason.

        Raises what `scratch` raises.
        """
        if not isinstance(target, Verify):
            return score(text, tools=tools, target=target)
        reply = parse(text)
        if reply.faults or not reply.calls or target.rule not in self.rules:
            return score_reply(reply, tools=tools, target=target)
        if problem := self._refusal(reply.calls, tools):
            return Reward(0.0, problem)
        results = self._threads.submit(asyncio.run, self._run(reply.calls)).result()
        return judge(reply.calls, tools=tools, target=target, results=results, rules=self.rules)

    def _refusal(self, calls: Sequence[ToolCall], tools: Sequence[ToolSpec]) -> str | None:
        """Say why the calls are not run; None if they are."""
        offered = {spec.name for spec in tools}
        for call in calls:
            if call.name not in offered or call.name not in self._registry:
                return f"calls: {call.name!r:.80} is no tool that was offered and can be run"
            if not self._registry.get(call.name).replay_safe:
                return (
                    f"rule: {call.name!r} is not marked replay_safe, so it is not run; mark it "
                    "with @tool(replay_safe=True) if running it again does no harm"
                )
        return None

    async def _run(self, calls: Sequence[ToolCall]) -> tuple[ToolResult, ...]:
        with self._scratch() as deps:
            return await execute(
                self._registry,
                calls,
                deps=deps,
                timeout_s=self._limits.tool_timeout_s,
                max_result_chars=self._limits.max_result_chars,
                max_concurrency=self._limits.max_parallel_calls,
            )


def score_by(agent: Agent | None) -> Score:
    """Return the reward function that an agent's tools and rules allow; without one, `score`."""
    if agent is None:
        return score
    return Verifier(agent.registry, agent.rules, scratch=agent.scratch, limits=agent.limits)


def examples_for(store: ReplayStore, agent: Agent | None) -> ExampleSet:
    """Return the examples of a store that `score_by` can judge.

    With an agent, examples of tools that it has no more, or has changed, are left out too.
    """
    if agent is None:
        return store.examples().judgeable(None)
    return store.examples(tools_now=agent.registry.specs).judgeable(agent.rules)
