"""What a run begins with, or goes on with: its examples, frozen, and what is told of them."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

from tooln1_agent.replay.store import ReplayStore
from trainer.config import GrpoConfig
from trainer.demonstration import without_calls
from trainer.errors import CheckpointError
from trainer.job import Job, known_until, parent_of
from trainer.logged import LoggedReplies, find_logged
from trainer.metrics import read_metrics
from trainer.plan import Plan, make_plan
from trainer.run import Manifest, Run, create_run, known_runs, unfinished_run
from trainer.selection import kept_back, shuffled_labels
from trainer.source import Found, add_hindsight, find_examples, missing_hindsight


def open_run(job: Job, config: GrpoConfig) -> Run:
    """Begin a run on what the store holds now.

    Raises NothingToTrain, and what opening store, model and adapters raises.
    """
    with ReplayStore(job.store, create=False) as store:
        job.say(f"hindsight gave {add_hindsight(store)} new labels")
        found = find_examples(store, job.agent)
        logged = _logged(job, config, store, found)
    run = _freeze(job, config, found, logged)
    for note in run.manifest.notes:
        job.say(note)
    job.say(f"run {run.manifest.name}: {len(found.train)} examples, from {_start_name(run)}")
    return run


def reopen_run(job: Job, changes: dict[str, Any]) -> Run:
    """Take up the newest unfinished run.

    Args:
        changes: fields of its settings that hold from now on.

    Raises CheckpointError where there is none, or it has not kept what the changes need.
    """
    run = unfinished_run(job.runs)
    config = GrpoConfig.model_validate(run.manifest.config.model_dump() | changes)
    if config.logged_replies and not run.manifest.logged_sha256:
        raise CheckpointError(
            f"run {run.manifest.name!r} began without logged replies, and has kept none; go on "
            "without logged_replies, or start anew without --resume"
        )
    run.note(config=config)
    job.say(f"run {run.manifest.name}: going on, from {_start_name(run)}")
    return run


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


def _freeze(job: Job, config: GrpoConfig, found: Found, logged: LoggedReplies | None) -> Run:
    """Freeze what the run learns from, and where it starts."""
    examples = found.train
    if config.shuffle_labels:
        examples = shuffled_labels(examples, seed=config.seed)
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
        notes=tuple(_notes(config, found, logged)),
    )
    kept = None if logged is None else logged.usable
    return create_run(job.runs, manifest, examples, logged=kept)


def _start_name(run: Run) -> str:
    parent = run.manifest.parent
    return "the base model" if parent is None else f"adapter {parent}"
