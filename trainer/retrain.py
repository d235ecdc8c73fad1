"""One run from the store to a gated adapter, as a function read from top to bottom."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime
from functools import partial
from typing import Any

from tooln1_agent.adapters import Adapter, AdapterStore
from tooln1_agent.engines.local.engine import LocalEngine
from tooln1_agent.engines.resolve import model_dir
from tooln1_agent.gate import GateReport
from tooln1_agent.gate_run import promote_if_passed, run_gate
from tooln1_agent.replay.store import ReplayStore
from tooln1_agent.verifier import score_by
from trainer.checkpoint import Progress
from trainer.config import GrpoConfig
from trainer.demonstration import without_calls
from trainer.errors import CheckpointError, NoSpread
from trainer.grpo import train
from trainer.job import Job, check_fits, known_until, parent_of
from trainer.learner import learner_of
from trainer.logged import LoggedReplies, find_logged
from trainer.metrics import Metrics, read_metrics
from trainer.outcome import Outcome, nothing_learned
from trainer.plan import Plan, make_plan
from trainer.policy import load_policy
from trainer.probe import make_probe
from trainer.report import note_rollouts, write_report
from trainer.run import Manifest, Run, create_run, known_runs, unfinished_run
from trainer.selection import kept_back, shuffled_labels
from trainer.sft import imitate
from trainer.source import Found, add_hindsight, find_examples, holdout_of, missing_hindsight
from trainer.vllm_sampler import open_sampler


def retrain(job: Job, config: GrpoConfig) -> Outcome:
    """Train an adapter on what the store holds, judge it, and make it live if it passes.

    Raises NothingToTrain, NoSpread, Diverged; and what opening store, model and adapters raises.
    """
    with ReplayStore(job.store, create=False) as store:
        job.say(f"hindsight gave {add_hindsight(store)} new labels")
        found = find_examples(store, job.agent)
        logged = _logged(job, config, store, found)
    run = _begin(job, config, found, logged)
    job.say(f"run {run.manifest.name}: {len(found.train)} examples, from {_start_name(run)}")
    return _finish(job, run, config)


def resume(job: Job, changes: dict[str, Any]) -> Outcome:
    """Go on with the newest unfinished run, as if it had never stopped.

    Args:
        changes: fields of its settings that hold from now on.

    Raises CheckpointError where there is no such run, and what `retrain` raises.
    """
    run = unfinished_run(job.runs)
    config = GrpoConfig.model_validate(run.manifest.config.model_dump() | changes)
    if config.logged_replies and not run.manifest.config.logged_replies:
        raise CheckpointError(
            f"run {run.manifest.name!r} began without logged replies, and has kept none; go on "
            "without logged_replies, or start anew without --resume"
        )
    run.note(config=config)
    job.say(f"run {run.manifest.name}: going on, from {_start_name(run)}")
    return _finish(job, run, config)


def plan(job: Job, config: GrpoConfig) -> Plan:
    """Say what `retrain` would use. Nothing is written, not even hindsight labels."""
    runs = known_runs(job.runs)
    until = known_until(parent_of(job))
    with ReplayStore(job.store, create=False) as store:
        found = find_examples(store, job.agent)
        waiting = len(missing_hindsight(store))
        notes = _notes(config, found, _logged(job, config, store, found))
        if waiting:
            notes.append(f"hindsight would add {waiting} labels")
        return make_plan(
            store,
            found,
            new=sum(until is None or e.created_at > until for e in found.train),
            config=config,
            last_run=read_metrics(runs[-1].path) if runs else (),
            notes=notes,
        )


def _notes(config: GrpoConfig, found: Found, logged: LoggedReplies | None) -> list[str]:
    """Say which examples are used otherwise than all are."""
    said = []
    if kept := kept_back(found.train, share=config.validation_share):
        said.append(f"kept out of training for validation: {len(kept)}")
    if config.imitation_steps and (kinds := without_calls(found.train)):
        counts = ", ".join(f"{kind} {count}" for kind, count in kinds.items())
        said.append(f"labels that name no calls to imitate, for GRPO alone: {counts}")
    return said if logged is None else [*said, logged.line()]


def _logged(job: Job, config: GrpoConfig, store: ReplayStore, found: Found) -> LoggedReplies | None:
    """Return the replies that may join the groups of their examples; None if none shall."""
    if not config.logged_replies:
        return None
    return find_logged(
        store,
        found.train,
        base_model=job.base_model,
        codec=job.codec,
        max_tokens=config.max_tokens,
    )


def _begin(job: Job, config: GrpoConfig, found: Found, logged: LoggedReplies | None) -> Run:
    """Freeze what the run learns from, and where it starts."""
    examples = found.train
    if config.shuffle_labels:
        examples = shuffled_labels(examples, seed=config.seed)
    notes = tuple(_notes(config, found, logged))
    for note in notes:
        job.say(note)
    parent, codec = parent_of(job), job.codec
    now = datetime.now(UTC)
    manifest = Manifest(
        name=f"{now:%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:6]}",
        created_at=now,
        store=str(job.store),
        base_model=job.base_model,
        prompt_version=codec.prompt_version,
        tokenizer_hash=codec.hash,
        parent=None if parent is None else parent.version,
        known_until=known_until(parent),
        seen_until=max(example.created_at for example in examples),
        config=config,
        notes=notes,
    )
    kept = None if logged is None else logged.usable
    return create_run(job.runs, manifest, examples, logged=kept)


def _finish(job: Job, run: Run, config: GrpoConfig) -> Outcome:
    """Do what is left of a run: train, keep the adapter, judge it, promote it."""
    with run.held():
        adapters = AdapterStore(job.out)
        progress = _train(job, run, config, adapters=adapters)
        if not progress.updates:
            reason = nothing_learned(progress, config)
            write_report(run.path, title=run.manifest.name, said=[reason, *run.manifest.notes])
            run.note(finished=True)
            raise NoSpread(reason)
        adapter = _keep(job, run, config, progress, adapters=adapters)
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


def _train(job: Job, run: Run, config: GrpoConfig, *, adapters: AdapterStore) -> Progress:
    """Train from the newest checkpoint on; leave the weights in the run's directory."""
    parent = None if run.manifest.parent is None else adapters.get(run.manifest.parent)
    check_fits(job, run)
    directory = model_dir(job.model)
    policy = load_policy(directory, config, start=None if parent is None else parent.path)
    learner = learner_of(run, policy, config, say=job.say)
    after = learner.progress.step
    with (
        open_sampler(job.sampler, directory, config=config, home=run.path) as sampler,
        Metrics(run.path, after_step=after, console=job.console) as metrics,
    ):
        imitate(
            learner,
            config,
            checkpoints=run.checkpoints,
            tell=metrics.add,
            score=score_by(job.agent),
            sampler=sampler,
        )
        stopped = train(
            learner,
            config,
            checkpoints=run.checkpoints,
            tell=metrics.add,
            score=score_by(job.agent),
            sampler=sampler,
            show=partial(note_rollouts, run.path),
        )
    policy.save_adapter(run.adapter_dir)
    make_probe(policy, run.examples()).write(run.adapter_dir)
    run.note(stopped=stopped)
    return learner.progress


def _keep(
    job: Job, run: Run, config: GrpoConfig, progress: Progress, *, adapters: AdapterStore
) -> Adapter:
    """Make the trained weights a version, once."""
    if run.manifest.adapter is not None:
        return adapters.get(run.manifest.adapter)
    examples = run.examples()
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
            "steps": progress.step,
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


def _start_name(run: Run) -> str:
    parent = run.manifest.parent
    return "the base model" if parent is None else f"adapter {parent}"
