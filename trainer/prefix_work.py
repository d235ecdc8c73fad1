"""What every form of the shared prompt gets, and how ids become rows and states are picked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Work(NamedTuple):
    """What a form gets: no prompt twice, B completions in order."""

    prompts: list[tuple[int, ...]]
    completions: list[Sequence[int]]
    owner: list[int]
    """Of each completion, the place of its prompt."""
    device: torch.device


def pad_rows(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Pad ids on the right; return them and their mask (1 on real ids), both int64.

    Padding on the right leaves no query without a key to attend to; such a row is NaN in some
    attention kernels.
    """
    width = max(map(len, rows))
    ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    return ids.to(device), mask.to(device)


def pick(states: Tensor, places: Tensor) -> Tensor:
    """Return the states (P, S, H) at places counted over all rows: (N, H).

    By index_select: indexing with a tensor adds the gradients of a state that is picked twice in
    whatever order the threads come to them, so that two runs would differ in the last bit.
    """
    return states.flatten(0, 1).index_select(0, places)
