"""What is asked for: what to train, from where; and whether an adapter or a run belongs to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

from rich.console import Console

from tooln1_agent.adapters import Adapter, AdapterStore
from tooln1_agent.agent import Agent
from tooln1_agent.codec import Codec
from tooln1_agent.engines.local.model import base_name
from tooln1_agent.engines.resolve import model_dir
from tooln1_agent.errors import AdapterError
from tooln1_agent.examples import Verify
from tooln1_agent.gate import GateConfig
from trainer.errors import CheckpointError
from trainer.run import Run
from trainer.vllm_sampler import SamplerChoice


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
    def codec(self) -> Codec:
        """Writes prompts as the base model reads them."""
        return Codec.load(model_dir(self.model))

    @property
    def say(self) -> Callable[[str], None]:
        """Tells a line."""
        return lambda line: self.console.print(line, highlight=False, markup=False, soft_wrap=True)


def parent_of(job: Job) -> Adapter | None:
    """Return the adapter to start from; raises AdapterError where it does not fit."""
    if job.start == "base" or not job.out.is_dir():
        return None
    codec = job.codec
    live = AdapterStore(job.out).live(job.base_model, prompt_version=codec.prompt_version)
    if live is not None and live.trained_on.get("tokenizer", codec.hash) != codec.hash:
        raise AdapterError(
            f"adapter {live.version!r} was trained with tokenizer "
            f"{live.trained_on['tokenizer']!r}, but that of --model {job.model!r} is "
            f"{codec.hash!r}; give the model that it was trained on, or start with --from base"
        )
    return live


def known_until(parent: Adapter | None) -> datetime | None:
    """Return the instant up to which the labels are known to an adapter."""
    value = None if parent is None else parent.trained_on.get("seen_until")
    return datetime.fromisoformat(value) if isinstance(value, str) else None


def check_fits(job: Job, run: Run) -> None:
    """Refuse to go on with a run that began with another model, or needs other rules."""
    codec, manifest = job.codec, run.manifest
    for what, began, now in (
        ("base model", manifest.base_model, job.base_model),
        ("tokenizer", manifest.tokenizer_hash, codec.hash),
        ("prompt version", manifest.prompt_version, codec.prompt_version),
    ):
        if began != now:
            raise CheckpointError(
                f"run {manifest.name!r} began with {what} {began!r}, but that of --model "
                f"{job.model!r} is {now!r} now; give the model that it began with, or start anew "
                "without --resume"
            )
    wanted = {e.target.rule for e in run.examples() if isinstance(e.target, Verify)}
    if missing := wanted - set(job.agent.rules if job.agent else ()):
        raise CheckpointError(
            f"run {manifest.name!r} learns from targets that the rule {min(missing)!r} judges; "
            "give the agent that it began with (--agent)"
        )
