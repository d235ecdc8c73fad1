"""Runs the gate against an engine: asks live and candidate, judges, keeps the report."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from tooln1_agent.adapters import AdapterStore
from tooln1_agent.engines.base import Engine, ModelRequest, complete
from tooln1_agent.errors import ContextTooLong, EngineBusy
from tooln1_agent.examples import Example
from tooln1_agent.gate import GateConfig, judge_candidate
from tooln1_agent.gate_report import GateReport
from tooln1_agent.holdout_ledger import record_use
from tooln1_agent.messages import Sampling
from tooln1_agent.reward import Score, score

_BUSY_TRIES = 20


async def replies(
    engine: Engine,
    examples: Sequence[Example],
    *,
    adapter: str | None,
    max_tokens: int = 512,
    concurrency: int = 8,
) -> list[str]:
    """Return one greedy completion for each example, in order.

    A prompt over the context limit and a completion cut by `max_tokens` give "", which no target
    rewards: the one could not be asked, the other earns nothing in training either.

    Args:
        adapter: a version that the engine has loaded; None is the base model alone.

    Raises EngineDown, or EngineBusy where the engine stays busy.
    """
    sampling = Sampling(temperature=0.0, max_tokens=max_tokens)
    places = asyncio.Semaphore(concurrency)

    async def reply(example: Example) -> str:
        request = ModelRequest(example.messages, example.tools, sampling, adapter)
        async with places:
            return await _ask(engine, request)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(reply(example)) for example in examples]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from failures
    return [task.result() for task in tasks]


async def _ask(engine: Engine, request: ModelRequest) -> str:
    for _ in range(_BUSY_TRIES - 1):
        try:
            return await _complete(engine, request)
        except EngineBusy as busy:
            await asyncio.sleep(busy.retry_after_s)
    return await _complete(engine, request)


async def _complete(engine: Engine, request: ModelRequest) -> str:
    try:
        completion = await complete(engine, request)
    except ContextTooLong:
        return ""
    return completion.text if completion.finish_reason == "stop" else ""


async def run_gate(
    engine: Engine,
    examples: Sequence[Example],
    *,
    store: AdapterStore,
    candidate: str,
    config: GateConfig,
    max_tokens: int = 512,
    concurrency: int = 8,
    score: Score = score,
) -> GateReport:
    """Judge a candidate against the live adapter, and keep the report beside the candidate.

    Both adapters stay loaded in the engine. The use of the holdout is written down before the
    engine is asked, so that an outcome cannot be looked at for nothing.

    Args:
        examples: the held-out ones; too few give an inconclusive report, not an error.
        candidate: a version in `store`.

    Raises AdapterError where an adapter is missing, damaged, or for another base or prompt.
    """
    info = engine.info
    trained_for = {"base_model": info.base_model, "prompt_version": info.prompt_version}
    new, live = store.get(candidate), store.live(**trained_for)
    store.check_fits(new, **trained_for)
    live_version = None if live is None else live.version
    prior_uses = 0
    if examples:
        ids = [example.id for example in examples]
        prior_uses = record_use(store, ids, candidate=candidate, live=live_version)
    texts = []
    for adapter in (live, new):
        if adapter is not None:
            await engine.load_adapter(adapter.version, adapter.path)
        texts.append(
            await replies(
                engine,
                examples,
                adapter=None if adapter is None else adapter.version,
                max_tokens=max_tokens,
                concurrency=concurrency,
            )
        )
    report = judge_candidate(
        examples,
        *texts,
        config=config,
        candidate=candidate,
        live=live_version,
        prior_uses=prior_uses,
        score=score,
    )
    store.attach_gate_report(candidate, report.model_dump_json(indent=2))
    return report


def promote_if_passed(store: AdapterStore, report: GateReport, *, who: str | None = None) -> bool:
    """Make the candidate live if it passed; return whether it is live now.

    Raises AdapterError where another version went live since the verdict.
    """
    if report.outcome != "pass":
        return False
    store.promote(
        report.candidate,
        reason=f"gate: {report.reasons[0]}",
        who=who,
        replacing=report.live,
    )
    return True
