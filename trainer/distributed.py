"""Who else trains: the processes that torchrun or accelerate started, each with its own device.

This module alone knows that there may be several; with one process all that it offers is the plain
call. Two rules keep processes from waiting for each other forever. All of them come to the same
exchanges in the same order. And an error of ours that one of them meets is told to the others at
their next exchange, where they raise it too; then all leave together. Any other error ends its
process, and the launcher ends the rest.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor

from tooln1_agent.errors import ConfigError, ToolN1Error

T = TypeVar("T")
R = TypeVar("R")

_PATIENCE = timedelta(days=1)
"""How long an exchange may wait: the first process judges an adapter while the others wait, and
the launcher is who notices that one of them has died."""


@contextmanager
def joined() -> Iterator[None]:
    """Work together with the other processes of this launch until the end, if there are any.

    Raises ConfigError where they cannot be joined. An error of ours is raised in the first process
    alone, which is to tell it; the others end.
    """
    if os.environ.get("WORLD_SIZE", "1") == "1":
        yield
        return
    _join()
    try:
        yield
    except ToolN1Error as error:
        _tell(error)
        everyone(lambda: None)  # when one leaves, the launcher ends the others, who may still write
        if is_first():
            raise
        sys.exit(1)
    dist.destroy_process_group()


def count() -> int:
    """Return how many processes train together."""
    return dist.get_world_size() if _is_joined() else 1


def neighbours() -> int:
    """Return how many of them share this machine, this one included."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if _is_joined() else 1


def is_first() -> bool:
    """Say whether this is the process that writes and tells."""
    return not _is_joined() or dist.get_rank() == 0


def part(items: Sequence[T]) -> list[T]:
    """Return what of these is this process's to do: every n-th, of n processes."""
    return list(items[dist.get_rank() :: count()]) if _is_joined() else list(items)


def everyone(make: Callable[[], T]) -> list[T]:
    """Let each process make something; return what all of them made, in the same order everywhere.

    An error of ours that is raised in one of them is raised in all.
    """
    if not _is_joined():
        return [make()]
    try:
        mine: T | _Failure = make()
    except ToolN1Error as error:
        mine = _Failure(type(error), str(error))
    made: list[Any] = [None] * count()
    dist.all_gather_object(made, mine)
    for process, each in enumerate(made):
        if isinstance(each, _Failure):
            raise each.error() from _Told(f"by process {process}")
    return made


def from_first(make: Callable[[], T]) -> T:
    """Let the first process make something; return it in all of them, which wait for it."""
    return cast(T, everyone(lambda: make() if is_first() else None)[0])


def as_first(value: T) -> T:
    """Return what the first process has in place of this value."""
    return everyone(lambda: value)[0]


def divided(items: Sequence[T], work: Callable[[list[T]], Sequence[R]]) -> list[R]:
    """Let each process work on its part of the items; return all results, in the items' order.

    Args:
        work: gives one result for each item that it is given.
    """
    parts = everyone(lambda: work(part(items)))
    return [parts[place % len(parts)][place // len(parts)] for place in range(len(items))]


def add_gradients(weights: Sequence[Tensor]) -> None:
    """Give each weight the sum of its gradients over all processes; none counts as zeros."""
    if not _is_joined():
        return
    grads = [torch.zeros_like(w) if w.grad is None else w.grad for w in weights]
    total = torch.cat([grad.flatten() for grad in grads])
    dist.all_reduce(total)
    sums = torch.split(total, [weight.numel() for weight in weights])
    for weight, grad in zip(weights, sums, strict=True):
        weight.grad = grad.view_as(weight)


def shard(model: Any) -> None:
    """Split the frozen weights of a causal model's layers over the processes, in place.

    Each layer is put together when it is computed, forward and backward, and taken apart after
    (FSDP2). Embeddings, output layer and what is in training stay whole. From here on all
    processes have to run the model equally often.
    """
    if not _is_joined():
        return
    from torch.distributed.fsdp import fully_shard  # a second to import, needed by few

    body = model.base_model
    whole = {weight for weight in body.parameters() if weight.requires_grad}
    for layer in body.layers:
        fully_shard(layer, ignored_params=whole)
    for name, child in body.named_children():
        if name != "layers":
            whole.update(child.parameters())
    fully_shard(body, ignored_params=whole)


class _Told(Exception):
    """Cause of an error that all processes know of."""


@dataclass(frozen=True, slots=True)
class _Failure:
    """An error on its way to the other processes."""

    kind: type[ToolN1Error]
    message: str

    def error(self) -> ToolN1Error:
        """Make the error again, by its message alone: some kinds are built from other things."""
        return self.kind.__new__(self.kind, self.message)


def _tell(error: ToolN1Error) -> None:
    """Tell the other processes of an error, unless they know of it."""

    def again() -> NoReturn:
        raise error

    if not isinstance(error.__cause__, _Told):
        with suppress(type(error)):
            everyone(again)


def _is_joined() -> bool:
    return dist.is_available() and dist.is_initialized()


def _join() -> None:
    if not dist.is_available():
        raise ConfigError(
            "WORLD_SIZE is set, but this build of torch has no torch.distributed; install one that "
            "has it, or start a single process"
        )
    if torch.cuda.is_available():
        torch.cuda.set_device(_own_gpu())
    has_nccl = torch.cuda.is_available() and dist.is_nccl_available()
    try:
        dist.init_process_group("cpu:gloo,cuda:nccl" if has_nccl else "gloo", timeout=_PATIENCE)
    except (ValueError, RuntimeError) as error:
        raise ConfigError(
            f"cannot join the processes that WORLD_SIZE={os.environ['WORLD_SIZE']!r} speaks of: "
            f"{error}. Start all of them with `torchrun --nproc-per-node N -m trainer ...`, or "
            "unset WORLD_SIZE"
        ) from error


def _own_gpu() -> int:
    own, there = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if own >= there:
        raise ConfigError(
            f"process {own} of this machine has no GPU of its own: there are {there}; start with "
            f"--nproc-per-node {there}, or without GPUs (CUDA_VISIBLE_DEVICES='')"
        )
    return own
