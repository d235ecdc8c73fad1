"""One run from the store to a gated adapter, as a function read from top to bottom."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, NamedTuple

from tooln1_agent.adapters import Adapter, AdapterStore
from tooln1_agent.engines.local.engine import LocalEngine
from tooln1_agent.engines.resolve import model_dir
from tooln1_agent.examples import Example
from tooln1_agent.gate import GateReport
from tooln1_agent.gate_run import promote_if_passed, run_gate
from tooln1_agent.verifier import score_by
from trainer.checkpoint import Progress
from trainer.config import GrpoConfig
from trainer.distributed import from_first, is_first
from trainer.errors import NoSpread
from trainer.grpo import train
from trainer.job import Job, check_fits
from trainer.learner import learner_of
from trainer.metrics import Metrics, StepMetrics
from trainer.opening import open_run, reopen_run
from trainer.outcome import Outcome, nothing_learned
from trainer.policy import load_policy
from trainer.probe import make_probe
from trainer.report import note_rollouts, write_report
from trainer.rollout import Group
from trainer.run import Run
from trainer.sft import imitate
from trainer.source import holdout_of
from trainer.vllm_sampler import open_sampler


def retrain(job: Job, config: GrpoConfig) -> Outcome:
    """Train an adapter on what the store holds, judge it, and make it live if it passes.

    Raises NothingToTrain, NoSpread, Diverged; and what opening store, model and adapters raises.
    """
    return _finish(job, from_first(lambda: open_run(job, config)))


def resume(job: Job, changes: dict[str, Any]) -> Outcome:
    """Go on with the newest unfinished run, as if it had never stopped.

    Args:
        changes: fields of its settings that hold from now on.

    Raises CheckpointError where there is no such run, and what `retrain` raises.
    """
    return _finish(job, from_first(lambda: reopen_run(job, changes)))


def _finish(job: Job, run: Run) -> Outcome:
    """Do what is left of a run: train, together, then let the first process do the rest."""
    with ExitStack() as open_:
        from_first(lambda: open_.enter_context(run.held()))
        learned = _train(job, run)
        return from_first(lambda: _conclude(job, run, learned))


class _Learned(NamedTuple):
    """What is told of a training that came to its end; the policy itself may be freed."""

    progress: Progress
    examples: Sequence[Example]
    """Those it learned from: that fitted, and were not kept back to validate on."""


def _conclude(job: Job, run: Run, learned: _Learned) -> Outcome:
    """Keep the adapter, judge it, promote it; raises NoSpread where none came of the run."""
    config, adapters, progress = run.manifest.config, AdapterStore(job.out), learned.progress
    if not progress.updates:
        reason = nothing_learned(progress, config)
        write_report(run.path, title=run.manifest.name, said=[reason, *run.manifest.notes])
        run.note(finished=True)
        raise NoSpread(reason)
    adapter = _keep(run, learned, adapters=adapters)
    report = _judge(job, config, adapter, adapters=adapters) if job.gate else None
    promoted = False
    if report is not None and job.promote:
        promoted = promote_if_passed(adapters, report)
    stopped = run.manifest.stopped or ""
    outcome = Outcome(run.manifest.name, adapter, stopped, progress, report, promoted)
    said = [*outcome.lines(), *run.manifest.notes]
    job.say(f"report: {write_report(run.path, title=outcome.run, said=said)}")
    run.note(finished=True)
    return outcome


def _train(job: Job, run: Run) -> _Learned:
    """Train from the newest checkpoint on; leave the weights in the run's directory."""
    config, adapters = run.manifest.config, AdapterStore(job.out)
    parent = None if run.manifest.parent is None else adapters.get(run.manifest.parent)
    check_fits(job, run)
    directory = model_dir(job.model)
    policy = load_policy(directory, config, start=None if parent is None else parent.path)
    learner = learner_of(run, policy, config, say=job.say)
    with (
        open_sampler(job.sampler, directory, config=config, home=run.path) as sampler,
        _witnesses(job, run, after=learner.progress.step) as (tell, show),
    ):
        imitate(
            learner,
            config,
            checkpoints=run.checkpoints,
            tell=tell,
            score=score_by(job.agent),
            sampler=sampler,
        )
        stopped = train(
            learner,
            config,
            checkpoints=run.checkpoints,
            tell=tell,
            score=score_by(job.agent),
            sampler=sampler,
            show=show,
        )
    policy.scale(config.adapter_scale)
    probe = make_probe(policy, run.examples())

    def keep() -> None:
        policy.save_adapter(run.adapter_dir)
        probe.write(run.adapter_dir)
        run.note(stopped=stopped)

    from_first(keep)
    return _Learned(learner.progress, learner.order.examples)


@contextmanager
def _witnesses(
    job: Job, run: Run, *, after: int
) -> Iterator[tuple[Callable[[StepMetrics], None], Callable[[int, Sequence[Group]], None] | None]]:
    """Yield who is told of each step after this one, and who is shown its groups."""
    if not is_first():
        yield lambda step: None, None
        return
    with Metrics(run.path, after_step=after, console=job.console) as metrics:
        yield metrics.add, partial(note_rollouts, run.path)


def _keep(run: Run, learned: _Learned, *, adapters: AdapterStore) -> Adapter:
    """Make the trained weights a version, once."""
    if run.manifest.adapter is not None:
        return adapters.get(run.manifest.adapter)
    examples, config = learned.examples, run.manifest.config
    adapter = adapters.add(
        run.adapter_dir,
        base_model=run.manifest.base_model,
        parent=run.manifest.parent,
        prompt_version=run.manifest.prompt_version,
        trained_on={
            "run": run.manifest.name,
            "tokenizer": run.manifest.tokenizer_hash,
            "examples": len(examples),
            "no_call": sum(not example.is_call for example in examples),
            "seen_until": run.manifest.seen_until.isoformat(),
            "steps": learned.progress.step,
            "seed": config.seed,
        },
        config_hash=config.hash(),
    )
    run.note(adapter=adapter.version)
    return adapter


def _judge(job: Job, config: GrpoConfig, adapter: Adapter, *, adapters: AdapterStore) -> GateReport:
    """Ask live and candidate the held-out examples, within the limits that training had."""
    holdout = holdout_of(job.store, job.agent)
    job.say(f"gate: {adapter.version} against what is live, on {len(holdout)} held-out examples")

    async def judge() -> GateReport:
        engine = LocalEngine(model_dir(job.model), context_limit=config.context_limit)
        try:
            return await run_gate(
                engine,
                holdout,
                store=adapters,
                candidate=adapter.version,
                config=job.gate_config,
                max_tokens=config.max_tokens,
                score=score_by(job.agent),
            )
        finally:
            await engine.aclose()

    return asyncio.run(judge())
