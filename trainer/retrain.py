"""One run from the store to a gated adapter, as a function read from top to bottom."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from tooln1_agent.adapters import Adapter, AdapterStore
from tooln1_agent.agent import Agent
from tooln1_agent.codec import Codec
from tooln1_agent.engines.local.engine import LocalEngine
from tooln1_agent.engines.local.model import base_name
from tooln1_agent.engines.resolve import model_dir
from tooln1_agent.examples import Verify
from tooln1_agent.gate import GateConfig, GateReport
from tooln1_agent.gate_run import promote_if_passed, run_gate
from tooln1_agent.replay.store import ReplayStore
from tooln1_agent.verifier import score_by
from trainer.checkpoint import Progress
from trainer.config import GrpoConfig
from trainer.errors import CheckpointError, NoSpread
from trainer.grpo import train
from trainer.learner import learner_of
from trainer.metrics import Metrics, read_metrics
from trainer.outcome import Outcome, nothing_learned
from trainer.plan import Plan, make_plan
from trainer.policy import load_policy
from trainer.probe import make_probe
from trainer.report import note_rollouts, write_report
from trainer.run import Manifest, Run, create_run, known_runs, unfinished_run
from trainer.selection import shuffled_labels
from trainer.sft import imitate
from trainer.source import Found, add_hindsight, find_examples, holdout_of, missing_hindsight
from trainer.vllm_sampler import SamplerChoice, open_sampler


@dataclass(frozen=True, slots=True)
class Job:
    """What to train, from where, and what to do with the outcome; whom to tell about it."""

    store: Path
    out: Path
    """The adapter directory; the runs lie in `runs` in it."""
    console: Console
    model: str = "seed"
    start: Literal["live", "base"] = "live"
    gate: bool = True
    promote: bool = True
    gate_config: GateConfig = field(default_factory=GateConfig)
    agent: Agent | None = None
    """Whose tools and rules judge `Verify` targets."""
    sampler: SamplerChoice = field(default_factory=SamplerChoice)
    """Who samples rollouts."""

    @property
    def runs(self) -> Path:
        """Where the runs lie."""
        return self.out / "runs"

    @property
    def base_model(self) -> str:
        """Name of the base model."""
        return base_name(model_dir(self.model))

    @property
    def prompt_version(self) -> str:
        """Names the template that its prompts are written in."""
        return Codec.load(model_dir(self.model)).prompt_version

    @property
    def say(self) -> Callable[[str], None]:
        """Tells a line."""
        return lambda line: self.console.print(line, highlight=False, markup=False, soft_wrap=True)


def retrain(job: Job, config: GrpoConfig) -> Outcome:
    """Train an adapter on what the store holds, judge it, and make it live if it passes.

    Raises NothingToTrain, NoSpread, Diverged; and what opening store, model and adapters raises.
    """
    with ReplayStore(job.store, create=False) as store:
        job.say(f"hindsight gave {add_hindsight(store)} new labels")
        found = find_examples(store, job.agent)
    run = _begin(job, config, found)
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
    run.note(config=config)
    job.say(f"run {run.manifest.name}: going on, from {_start_name(run)}")
    return _finish(job, run, config)


def plan(job: Job, config: GrpoConfig) -> Plan:
    """Say what `retrain` would use. Nothing is written, not even hindsight labels."""
    runs = known_runs(job.runs)
    until = _known_until(_parent(job))
    with ReplayStore(job.store, create=False) as store:
        found = find_examples(store, job.agent)
        waiting = len(missing_hindsight(store))
        return make_plan(
            store,
            found,
            new=sum(until is None or e.created_at > until for e in found.train),
            config=config,
            last_run=read_metrics(runs[-1].path) if runs else (),
            notes=[f"hindsight would add {waiting} labels"] if waiting else [],
        )


def _begin(job: Job, config: GrpoConfig, found: Found) -> Run:
    """Freeze what the run learns from, and where it starts."""
    examples = found.train
    if config.shuffle_labels:
        examples = shuffled_labels(examples, seed=config.seed)
    parent = _parent(job)
    now = datetime.now(UTC)
    manifest = Manifest(
        name=f"{now:%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:6]}",
        created_at=now,
        store=str(job.store),
        base_model=job.base_model,
        parent=None if parent is None else parent.version,
        known_until=_known_until(parent),
        seen_until=max(example.created_at for example in examples),
        config=config,
    )
    return create_run(job.runs, manifest, examples)


def _finish(job: Job, run: Run, config: GrpoConfig) -> Outcome:
    """Do what is left of a run: train, keep the adapter, judge it, promote it."""
    with run.held():
        adapters = AdapterStore(job.out)
        progress = _train(job, run, config, adapters=adapters)
        if not progress.updates:
            reason = nothing_learned(progress, config)
            write_report(run.path, title=run.manifest.name, said=[reason])
            run.note(finished=True)
            raise NoSpread(reason)
        adapter = _keep(job, run, config, progress, adapters=adapters)
        report = _judge(job, config, adapter, adapters=adapters) if job.gate else None
        promoted = False
        if report is not None and job.promote:
            promoted = promote_if_passed(adapters, report)
        stopped = run.manifest.stopped or ""
        outcome = Outcome(run.manifest.name, adapter, stopped, progress, report, promoted)
        job.say(f"report: {write_report(run.path, title=outcome.run, said=outcome.lines())}")
        run.note(finished=True)
    return outcome


def _train(job: Job, run: Run, config: GrpoConfig, *, adapters: AdapterStore) -> Progress:
    """Train from the newest checkpoint on; leave the weights in the run's directory."""
    parent = None if run.manifest.parent is None else adapters.get(run.manifest.parent)
    _check_fits(job, run)
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
            examples=run.examples(),
            checkpoints=run.checkpoints,
            tell=metrics.add,
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


def _check_fits(job: Job, run: Run) -> None:
    """Refuse to go on with a run that began with another model, or needs other rules."""
    if run.manifest.base_model != job.base_model:
        raise CheckpointError(
            f"run {run.manifest.name!r} trains base model {run.manifest.base_model!r}, but "
            f"--model {job.model!r} is {job.base_model!r}; give the model that it began with"
        )
    wanted = {e.target.rule for e in run.examples() if isinstance(e.target, Verify)}
    if missing := wanted - set(job.agent.rules if job.agent else ()):
        raise CheckpointError(
            f"run {run.manifest.name!r} learns from targets that the rule {min(missing)!r} judges; "
            "give the agent that it began with (--agent)"
        )


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
        prompt_version=job.prompt_version,
        trained_on={
            "run": run.manifest.name,
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


def _parent(job: Job) -> Adapter | None:
    """Return the adapter to start from; raises AdapterError where it does not fit."""
    if job.start == "base" or not job.out.is_dir():
        return None
    return AdapterStore(job.out).live(job.base_model, prompt_version=job.prompt_version)


def _known_until(parent: Adapter | None) -> datetime | None:
    """Return the instant up to which the labels are known to an adapter."""
    value = None if parent is None else parent.trained_on.get("seen_until")
    return datetime.fromisoformat(value) if isinstance(value, str) else None


def _start_name(run: Run) -> str:
    parent = run.manifest.parent
    return "the base model" if parent is None else f"adapter {parent}"
