"""What the `retrain` command does once torch may be imported."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import ValidationError
from rich.console import Console

from tooln1_agent.cli.targets import load_agent
from tooln1_agent.config import load_gate_config
from tooln1_agent.config_file import chosen_file, read_table
from tooln1_agent.engines.resolve import half_the_cores
from tooln1_agent.errors import ConfigError
from trainer.config import GrpoConfig
from trainer.distributed import count, is_first, neighbours
from trainer.job import Job
from trainer.online import interruptible_wait, new_since_last_run, run_every
from trainer.opening import plan
from trainer.outcome import Outcome
from trainer.retrain import resume, retrain
from trainer.vllm_sampler import SamplerChoice


class Command:
    """One invocation: a job, and a console to tell about it."""

    def __init__(
        self,
        *,
        store: Path,
        model: str,
        out: Path,
        start: Literal["live", "base"],
        gate: bool,
        promote: bool,
        file: Path | None,
        threads: int | None,
        agent: str | None,
        sampler: SamplerChoice,
    ) -> None:
        """Set the threads of this process and describe the job."""
        torch.set_num_threads(threads or max(1, half_the_cores() // neighbours()))
        self._file = file
        self._job = Job(
            store,
            out,
            Console(quiet=not is_first()),
            model=model,
            start=start,
            gate=gate,
            promote=promote,
            gate_config=load_gate_config(file),
            agent=None if agent is None else load_agent(agent),
            sampler=sampler,
        )

    def plan(self, changes: dict[str, Any]) -> None:
        """Say what a run would use."""
        config = settings(changes, file=self._file)
        for line in plan(self._job, config).lines(config):
            self._job.say(line)

    def once(self, changes: dict[str, Any]) -> None:
        """Train once."""
        self._tell(retrain(self._job, settings(changes, file=self._file)))

    def resume(self, changes: dict[str, Any]) -> None:
        """Go on with the newest unfinished run."""
        try:
            self._tell(resume(self._job, changes))
        except ValidationError as error:
            raise _bad_setting(error) from error

    def every(self, changes: dict[str, Any], *, every_s: float, min_new: int) -> None:
        """Train from time to time until SIGINT or SIGTERM, after which a run still ends."""
        if count() > 1:
            raise ConfigError(
                "--every is for one process; to train with several from time to time, have a "
                "scheduler start them"
            )
        config = settings(changes, file=self._file)
        with interruptible_wait(every_s) as wait:
            run_every(
                lambda: self._tell(retrain(self._job, config)),
                new_examples=self._new_examples,
                min_new=min_new,
                wait=wait,
                say=self._job.say,
            )

    def _new_examples(self) -> int:
        return new_since_last_run(self._job.store, self._job.runs, agent=self._job.agent)

    def _tell(self, outcome: Outcome) -> None:
        for line in outcome.lines():
            self._job.say(line)


def settings(changes: dict[str, Any], *, file: Path | None = None) -> GrpoConfig:
    """Return the settings: defaults, then the table `[retrain]` of the file, then `changes`.

    Raises ConfigError where they cannot be.
    """
    path = chosen_file(file)
    table = {} if path is None else read_table(path, "retrain", known=GrpoConfig.model_fields)
    try:
        return GrpoConfig.model_validate(table | changes)
    except ValidationError as error:
        raise _bad_setting(error) from error


def _bad_setting(error: ValidationError) -> ConfigError:
    first = error.errors(include_url=False)[0]
    where = " ".join(f"--{str(part).replace('_', '-')}" for part in first["loc"])
    return ConfigError(f"{where}: {first['msg'].removeprefix('Value error, ')}".lstrip(": "))
