"""Rollouts from vLLM: the policy's LoRA weights travel to it under a new name each time they move.

What a step samples is on policy but for rounding; the update sees the difference as ratios of
probabilities and reports the largest (`ratio_gap`).
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from tooln1_agent.adapter_files import content_hash, content_names
from tooln1_agent.engines.local.generate import Sample
from tooln1_agent.engines.rota import Rota
from tooln1_agent.engines.servers import server_root
from tooln1_agent.engines.vllm.engine import VllmEngine
from tooln1_agent.engines.vllm.launch import child
from tooln1_agent.engines.vllm.running import RunningServer
from tooln1_agent.errors import ConfigError, EngineBusy, EngineDown
from tooln1_agent.messages import Completion, Sampling
from trainer.config import GrpoConfig
from trainer.distributed import count, from_first, is_first
from trainer.policy import Policy
from trainer.sampler import Sampler

log = logging.getLogger("trainer.vllm_sampler")

KEY_VARIABLE = "TOOLN1_ENGINE_API_KEY"
"""Holds the key for servers that run already."""

_PATIENCE_S = 300.0
"""How long all servers may be away before the run gives up; its last checkpoint stands."""
_PAUSE_S = 1.0


@dataclass(frozen=True, slots=True)
class SamplerChoice:
    """Who is to sample, as the command line says."""

    name: str = "local"
    """`local`, `vllm` (a server that is started for the run), or URLs with commas."""
    python: Path | None = None
    """Interpreter that has vLLM."""
    arguments: tuple[str, ...] = ()
    """Further ones, for vLLM."""
    push_every: int = 1
    """With every how manieth update the weights are pushed."""


@contextmanager
def open_sampler(
    choice: SamplerChoice, model_dir: Path, *, config: GrpoConfig, home: Path
) -> Iterator[Sampler | None]:
    """Yield the chosen sampler (None samples in this process), and close it at the end.

    Args:
        home: directory of the run, for the log of vLLM and what is pushed to it.
    """
    if choice.name == "local":
        _check_local(config)
        yield None
        return
    engines = _engines(choice, model_dir, config=config, home=home) if is_first() else []
    scratch = (home / "pushed").resolve()
    scratch.mkdir(exist_ok=True)
    sampler = VllmSampler(engines, scratch, push_every=choice.push_every)
    try:
        yield sampler
    finally:
        sampler.close()
        if is_first():
            shutil.rmtree(scratch)


def _engines(
    choice: SamplerChoice, model_dir: Path, *, config: GrpoConfig, home: Path
) -> list[VllmEngine]:
    """Return the vLLM servers of a choice; they start, or are asked, with the first prompt."""
    if choice.name == "vllm":
        ours = f"--dtype {config.precision} --max-lora-rank {config.lora_rank}"
        server = child(
            model_dir,
            python=choice.python,
            arguments=[ours, *choice.arguments],
            log_file=home / "vllm.log",
            context_limit=config.context_limit,
        )
        return [VllmEngine(model_dir, server)]
    key = os.environ.get(KEY_VARIABLE)
    roots = [server_root(url) for url in choice.name.split(",")]
    return [VllmEngine(model_dir, RunningServer(root, key)) for root in roots]


def _check_local(config: GrpoConfig) -> None:
    """Refuse to sample from a base of which no process has the whole."""
    if config.shard and count() > 1:
        raise ConfigError(
            "with --shard no process has the whole base model to sample from; give --sampler vllm, "
            "or the URLs of servers"
        )


class VllmSampler:
    """Samples through vLLM servers, in turn; one that goes away loses nothing.

    A prompt whose server fails is sampled again, in full, by another or when one is back.
    """

    def __init__(
        self, engines: Sequence[VllmEngine], scratch: Path, *, push_every: int = 1
    ) -> None:
        """Take the engines; they are started with the first prompt.

        Args:
            scratch: directory for the adapters that are pushed, the same for vLLM.
            push_every: with every how manieth change of the weights they are pushed.
        """
        self._rota = Rota(engines, VllmEngine.check)
        self._scratch, self._push_every = scratch, push_every
        self._runner = asyncio.Runner()
        self._pushed: str | None = None
        self._last_hash = ""
        self._changes = 0

    def sample(
        self,
        policy: Policy,
        prompts: Sequence[Sequence[int]],
        *,
        n: int,
        sampling: Sampling,
        generator: torch.Generator,
    ) -> list[list[Sample]]:
        """Return `n` completions of each prompt; the first process alone asks the servers.

        Raises:
            EngineDown: no server answers at the first step, or for five minutes at a later one.
            AdapterError: one refuses the weights; says why.
        """
        seeds = torch.randint(2**31 - 1, (len(prompts),), generator=generator).tolist()
        return from_first(
            lambda: self._runner.run(self._sample(policy, prompts, seeds, n=n, sampling=sampling))
        )

    def close(self) -> None:
        """Unload what was pushed and leave the servers; one of our own is stopped."""
        with self._runner as runner:
            runner.run(self._rota.aclose())
            for engine in self._rota.members:
                runner.run(self._leave(engine))

    async def _sample(
        self,
        policy: Policy,
        prompts: Sequence[Sequence[int]],
        seeds: Sequence[int],
        *,
        n: int,
        sampling: Sampling,
    ) -> list[list[Sample]]:
        if self._pushed is None:
            await self._rota.begin(VllmEngine.start)
        version = await self._push(policy)
        groups = (
            self._group(prompt, n, sampling.model_copy(update={"seed": seed}), version)
            for prompt, seed in zip(prompts, seeds, strict=True)
        )
        return [[_sample(each) for each in group] for group in await asyncio.gather(*groups)]

    async def _leave(self, engine: VllmEngine) -> None:
        if self._pushed is not None:
            await engine.unload_adapter(self._pushed)
        await engine.aclose()

    async def _group(
        self, prompt: Sequence[int], n: int, sampling: Sampling, version: str
    ) -> list[Completion]:
        """Sample one group from the first server that can, trying again for a while."""
        waited_s = 0.0
        while True:
            for engine in self._rota.in_turn():
                try:
                    await engine.load_adapter(version, self._scratch / version)
                    return await engine.sample(prompt, n=n, sampling=sampling, adapter=version)
                except EngineBusy as error:
                    problem: EngineBusy | EngineDown = error
                except EngineDown as error:
                    self._rota.put_aside(engine, error)
                    problem = error
            if waited_s >= _PATIENCE_S:
                raise problem
            log.warning("no vLLM samples right now, waiting: %s", problem)
            await asyncio.sleep(_PAUSE_S)
            waited_s += _PAUSE_S

    async def _push(self, policy: Policy) -> str:
        """Put the policy's weights where vLLM finds them, if it is time; return their version."""
        staging = self._scratch / ".staging"
        policy.save_adapter(staging)
        digest = content_hash(staging, content_names(staging))[:12]
        if digest != self._last_hash:
            self._last_hash, self._changes = digest, self._changes + 1
        is_due = (self._changes - 1) % self._push_every == 0 or self._pushed is None
        version = f"v{self._changes:04d}-{digest}"
        if not is_due or version == self._pushed:
            assert self._pushed is not None
            return self._pushed
        old, self._pushed = self._pushed, version
        if (self._scratch / version).exists():  # of this run, before it was resumed
            shutil.rmtree(staging)
        else:
            staging.rename(self._scratch / version)
        if old is not None:
            for engine in self._rota.members:
                await engine.unload_adapter(old)
            shutil.rmtree(self._scratch / old)
        return version


def _sample(completion: Completion) -> Sample:
    return Sample(
        ids=completion.completion_ids or (),
        logprobs=completion.logprobs or (),
        finish_reason="length" if completion.finish_reason == "length" else "stop",
    )
