"""Runs of the trainer in processes of their own that are killed at a chosen instant."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from tooln1_agent.adapters import AdapterStore
from trainer.config import GrpoConfig
from trainer.errors import CheckpointError
from trainer.job import Job
from trainer.retrain import resume, retrain

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload([__name__])  # what is imported there is forked, and costs little
_CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir")


def watch_checkpoints(tell: Callable[[], None]) -> None:
    """Call `tell` before each change to the files of a checkpoint, torn files included.

    What was written and not yet synced may be lost when a machine stops. So before a file is
    synced it loses its second half here, and is whole again only if the process lives on.
    """

    def heard(event: str, arguments: tuple[Any, ...]) -> None:
        is_write = event == "open" and isinstance(arguments[1], str) and "w" in arguments[1]
        if (event in _CHANGES or is_write) and "checkpoints" in str(arguments[0]):
            tell()

    plain = os.fsync

    def fsync(handle: int) -> None:
        path = Path(f"/proc/self/fd/{handle}").resolve()
        if "checkpoints" in str(path):
            whole = path.read_bytes() if path.is_file() else None
            if whole is not None:
                os.truncate(path, len(whole) // 2)
            tell()
            if whole is not None:
                with path.open("r+b") as file:
                    file.write(whole)
        plain(handle)

    os.fsync = fsync
    sys.addaudithook(heard)


def watch_calls(tell: Callable[[], None]) -> None:
    """Call `tell` before each call of a Python function."""

    def heard(frame: Any, event: str, argument: Any) -> None:
        if event == "call":
            tell()

    sys.setprofile(heard)


def run(
    out: Path, *, store: Path, model: Path, config: GrpoConfig, watch: Any = None, kill_at: int = -1
) -> tuple[int | None, int]:
    """Train, or go on; return the process's exit code, and the instants that were counted."""
    counted = _FORKS.Value("q", 0)
    arguments = (out, store, model, config, watch, kill_at, counted)
    process = _FORKS.Process(target=_work, args=arguments)
    process.start()
    process.join()
    return process.exitcode, counted.value


def _work(
    out: Path,
    store: Path,
    model: Path,
    config: GrpoConfig,
    watch: Any,
    kill_at: int,
    counted: Any,
) -> None:
    torch.set_num_threads(1)
    seen = 0

    def tell() -> None:
        nonlocal seen
        if seen == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        seen += 1

    job = Job(store, out, Console(quiet=True), model=str(model), gate=False)
    if watch is not None:
        watch(tell)
    try:
        resume(job, {})
    except CheckpointError:  # it was killed before the run had a name
        retrain(job, config)
    sys.setprofile(None)
    counted.value = seen


def weights(out: Path) -> bytes:
    """Return the file of the one adapter that came of a run."""
    (adapter,) = AdapterStore(out).list()
    return (adapter.path / "adapter_model.safetensors").read_bytes()
