"""Checkpoints: all that a run needs to go on as if it had never stopped, whole or absent.

    checkpoints/step-000012/state.safetensors   LoRA weights, optimizer moments, sampler's generator
    checkpoints/step-000012/progress.json       where the run stands, and the hash of the tensors

A checkpoint is written under another name, synced and renamed; one that is damaged all the same
is passed over for the one before.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from tooln1_agent.durable import sync_dir, write_whole
from trainer.errors import CheckpointError
from trainer.policy import Policy
from trainer.selection import OrderState

KEPT = 2
_TENSORS, _PROGRESS = "state.safetensors", "progress.json"
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


class Progress(BaseModel):
    """Where a run stands after a step."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: int = 0
    updates: int = 0
    """Steps that changed the weights."""
    order: OrderState = OrderState()
    """Where the order of examples stands."""
    solved_streak: int = 0
    flat_streak: int = 0
    all_right: int = 0
    """Groups without spread so far in which every rollout was right."""
    all_wrong: int = 0
    trained_s: float = 0.0
    """Seconds spent training, over all the processes that have worked on the run."""
    first_reward: float | None = None
    last_reward: float | None = None


class Checkpoint(NamedTuple):
    """A checkpoint that was found whole."""

    progress: Progress
    tensors: dict[str, Tensor]


class _Stored(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    progress: Progress
    sha256: str


def capture(
    policy: Policy, optimizer: torch.optim.Optimizer, generator: torch.Generator
) -> dict[str, Tensor]:
    """Return every tensor that the course of a run depends on, by name."""
    tensors = {"generator": generator.get_state()}
    for name, weight in policy.trainable().items():
        tensors[f"weight/{name}"] = weight.detach().cpu()
        for moment, value in optimizer.state.get(weight, {}).items():
            tensors[f"{moment}/{name}"] = value.cpu()
    return {name: tensor.contiguous() for name, tensor in sorted(tensors.items())}


def restore(
    tensors: dict[str, Tensor],
    policy: Policy,
    *,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
) -> None:
    """Put captured tensors back."""
    generator.set_state(tensors["generator"])
    prefix = "weight/"
    policy.set_weights(
        {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
    )
    for name, weight in policy.trainable().items():
        if f"step/{name}" in tensors:
            moments = {moment: tensors[f"{moment}/{name}"] for moment in _MOMENTS}
            optimizer.state[weight] = {
                moment: value if moment == "step" else value.to(weight.device)
                for moment, value in moments.items()
            }


def save_checkpoint(directory: Path, progress: Progress, tensors: dict[str, Tensor]) -> Path:
    """Write the checkpoint of a step, unless it is there; then drop all but the newest two."""
    directory.mkdir(parents=True, exist_ok=True)
    final = directory / f"step-{progress.step:06d}"
    if _read(final) is not None:
        return final
    staging = directory / f".tmp-{final.name}"
    for leftover in (staging, final):
        shutil.rmtree(leftover, ignore_errors=True)
    staging.mkdir()
    save_file(tensors, staging / _TENSORS)
    _sync_file(staging / _TENSORS)
    stored = _Stored(progress=progress, sha256=_sha256(staging / _TENSORS))
    write_whole(staging / _PROGRESS, stored.model_dump_json(indent=2))
    staging.rename(final)
    sync_dir(directory)
    for old in _newest_first(directory)[KEPT:]:
        shutil.rmtree(old)
    return final


def latest_checkpoint(directory: Path) -> Checkpoint:
    """Return the newest checkpoint that is whole.

    Raises CheckpointError where there is none.
    """
    found = _newest_first(directory)
    for path in found:
        checkpoint = _read(path)
        if checkpoint is not None:
            return checkpoint
    seen = f"all of {[path.name for path in found]} are damaged" if found else "there is none"
    raise CheckpointError(
        f"no whole checkpoint in {str(directory)!r}: {seen}; start the training again "
        "without --resume"
    )


def _newest_first(directory: Path) -> list[Path]:
    return sorted(directory.glob("step-*"), reverse=True)


def _read(path: Path) -> Checkpoint | None:
    try:
        stored = _Stored.model_validate_json((path / _PROGRESS).read_bytes())
        if _sha256(path / _TENSORS) != stored.sha256:
            return None
        return Checkpoint(stored.progress, load_file(path / _TENSORS))
    except (OSError, ValidationError, SafetensorError):
        return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
