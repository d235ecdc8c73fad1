"""The knobs of the demo, all in one place."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path


@dataclass(frozen=True, slots=True)
class FeedbackMix:
    """What simulated people do after an answer; what is left over is silence."""

    speaks: float = 0.55
    """Share of the people who give feedback at all."""
    accepts: float = 0.5
    """Share of those who, seeing a right answer, accept it; the others write down the calls."""
    errs: float = 0.02
    """Share of the feedback that is wrong: an accept of a wrong answer."""

    def __post_init__(self) -> None:
        for name in ("speaks", "accepts", "errs"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} is {getattr(self, name)!r}, expected a share from 0 to 1")


@dataclass(frozen=True, slots=True)
class DemoConfig:
    """How much of everything; the defaults take seven to eight minutes on two CPU cores."""

    out: Path = Path("demo-out")
    """Where everything is written; what an earlier run left there is removed."""
    seed: int = 7
    """Decides the requests, who speaks and the rollouts."""
    model: str = "seed"
    requests: int = 480
    """Requests of live traffic before training."""
    agent_share: float = 0.3
    """Share of the traffic in agent mode (the server runs the tools)."""
    concurrency: int = 24
    """Most requests under way at once."""
    feedback: FeedbackMix = field(default_factory=FeedbackMix)
    eval_requests: int = 200
    """Fresh requests, never labelled, on which base and adapter are compared."""
    trickle_per_s: float = 0.4
    """Requests a second that go on while training and swap take place."""
    trickle_requests: int = 300
    """Different requests of the trickle; after the last one they begin again."""
    steps: int = 50
    """Optimizer steps of GRPO."""
    training_time: str = "4m"
    """Training stops after the step in which this is over."""
    more_retrain_flags: tuple[str, ...] = ("--max-tokens", "96", "--checkpoint-every", "10")
    """More flags for `tooln1-agent retrain`."""
    promote_anyway: bool = False
    """Promote a candidate that the gate did not pass: only where a run is too small to judge."""
    swap_timeout_s: float = 60.0
    """How long the server may take to serve the new version."""

    def __post_init__(self) -> None:
        if min(self.requests, self.eval_requests, self.concurrency, self.steps) < 1:
            raise ValueError("requests, eval_requests, concurrency and steps must be at least 1")

    @property
    def store(self) -> Path:
        return self.out / "replay.db"

    @property
    def adapters(self) -> Path:
        """Where adapters are kept, and the training runs that made them."""
        return self.out / "adapters"

    @property
    def serve_flags(self) -> tuple[str, ...]:
        """What `tooln1-agent serve` is told beside the agent and the port."""
        places = ("--store", str(self.store), "--adapters", str(self.adapters))
        return ("--model", self.model, *places)

    @property
    def retrain_flags(self) -> tuple[str, ...]:
        """What `tooln1-agent retrain` is told."""
        places = ("--store", str(self.store), "--out", str(self.adapters))
        numbers = ("--steps", str(self.steps), "--seed", str(self.seed))
        threads = ("--threads", str(min(2, os.cpu_count() or 1)))
        limits = ("--time-limit", self.training_time, *fast_precision(), *threads)
        return ("--model", self.model, *places, *numbers, *limits, *self.more_retrain_flags)


def fast_precision(cpuinfo: Path = Path("/proc/cpuinfo")) -> tuple[str, ...]:
    """Return the flags of `retrain` for the numbers that this processor is fastest with.

    Sampling is many small products, which gain from AMX alone.
    """
    try:
        known = set(cpuinfo.read_text(encoding="utf-8").split())
    except OSError:
        known = set()
    if not known & {"amx_bf16", "avx512_bf16"}:
        return ("--precision", "float32")
    sampling = "bfloat16" if "amx_bf16" in known else "float32"
    return ("--precision", "bfloat16", "--sampling-precision", sampling)


def fast(config: DemoConfig) -> DemoConfig:
    """Return a tiny run for tests: every step is taken, next to nothing is learned."""
    small = ("--max-tokens", "96", "--prompts-per-step", "6", "--group-size", "6")
    return replace(
        config,
        requests=24,
        feedback=FeedbackMix(speaks=0.8),
        eval_requests=8,
        concurrency=4,
        trickle_per_s=2.0,
        steps=3,
        more_retrain_flags=small,
        promote_anyway=True,
    )
