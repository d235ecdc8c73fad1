"""What belongs to a job: adapters and runs of its model, and what it tells before it begins."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console

from tooln1_agent.adapters import AdapterStore
from tooln1_agent.engines.local.model import base_name
from tooln1_agent.errors import AdapterError
from tooln1_agent.examples import AnyCall, LabelEvent
from tooln1_agent.replay.store import ReplayStore
from trainer.config import GrpoConfig
from trainer.errors import CheckpointError
from trainer.job import Job, check_fits, parent_of
from trainer.opening import plan
from trainer.policy import load_policy
from trainer.retrain import resume
from trainer.run import Manifest, Run, create_run

NOW = datetime(2026, 11, 23, tzinfo=UTC)
MakeStore = Callable[..., Path]


@pytest.fixture
def job(tiny_agent_dir: Path, tmp_path: Path) -> Job:
    return Job(
        tmp_path / "replay.db", tmp_path / "out", Console(quiet=True), model=str(tiny_agent_dir)
    )


def run_of(job: Job, **changes: str) -> Run:
    manifest = Manifest(
        name="a",
        created_at=NOW,
        store=str(job.store),
        base_model=job.base_model,
        prompt_version=job.codec.prompt_version,
        tokenizer_hash=job.codec.hash,
        parent=None,
        known_until=None,
        seen_until=NOW,
        config=GrpoConfig(),
    )
    return create_run(job.runs, manifest.model_copy(update=changes), [])


def test_a_run_of_this_model_fits(job: Job) -> None:
    check_fits(job, run_of(job))


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("base_model", "base model 'another'"),
        ("tokenizer_hash", "tokenizer 'another'"),
        ("prompt_version", "prompt version 'another'"),
    ],
)
def test_a_run_that_began_with_another_is_refused(job: Job, field: str, said: str) -> None:
    run = run_of(job, **{field: "another"})
    with pytest.raises(CheckpointError, match=f"began with {said}.* start anew"):
        check_fits(job, run)


def test_a_run_that_kept_no_logged_replies_cannot_go_on_with_them(job: Job) -> None:
    run_of(job)
    with pytest.raises(CheckpointError, match="began without logged replies"):
        resume(job, {"logged_replies": True})


@pytest.mark.parametrize("is_same", [True, False])
def test_an_adapter_of_another_tokenizer_is_not_gone_on_from(job: Job, is_same: bool) -> None:
    tokenizer = job.codec.hash if is_same else "another"
    staging = job.out / "staging"
    load_policy(Path(job.model), GrpoConfig(lora_rank=1)).save_adapter(staging)
    store = AdapterStore(job.out)
    adapter = store.add(
        staging,
        base_model=job.base_model,
        parent=None,
        prompt_version=job.codec.prompt_version,
        trained_on={"tokenizer": tokenizer},
        config_hash="",
    )
    store.promote(adapter.version, reason="test")
    if is_same:
        assert parent_of(job) == store.live()
    else:
        with pytest.raises(AdapterError, match="trained with tokenizer 'another'"):
            parent_of(job)


def test_a_plan_says_which_logged_replies_join_their_groups(
    job: Job, make_store: MakeStore, tiny_agent_dir: Path, tiny_model_dir: Path
) -> None:
    config = GrpoConfig(logged_replies=True, max_tokens=16)
    make_store(["on", "off"] * 4, model_dir=tiny_agent_dir)
    told = plan(job, config)
    assert f"logged replies that join their groups: {told.train}" in told.lines(config)
    with ReplayStore(job.store) as store:
        assert next(store.interactions()).base_model == base_name(tiny_agent_dir)
    job.store.unlink()
    make_store(["on", "off"] * 4, model_dir=tiny_model_dir)
    told = plan(job, config)
    assert any(f"groups: 0; left out: other_base {told.train}" in n for n in told.lines(config))
    assert not any("logged" in line for line in plan(job, GrpoConfig()).lines(config))


def test_a_plan_says_what_is_kept_out_of_training_and_what_cannot_be_imitated(
    job: Job, make_store: MakeStore
) -> None:
    make_store(["on"] * 120)
    with ReplayStore(job.store) as store:
        for interaction in list(store.interactions(limit=9)):
            label = LabelEvent(
                interaction=interaction.id,
                verdict="target",
                target=AnyCall(),
                source="correction",
                created_at=NOW,
            )
            store.add_label(label)
    config = GrpoConfig(method="sft", validation_share=0.2)
    said = "\n".join(plan(job, config).lines(config))
    assert "\nkept out of training for validation: " in said
    assert "\nlabels that name no calls to imitate, for GRPO alone: any_call " in said
