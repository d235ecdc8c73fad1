"""What time and memory are on the device that a benchmark computes on."""

from __future__ import annotations

import time
from pathlib import Path

import torch

MIB = 1 << 20


def seconds() -> float:
    """Return processor time; on a GPU the time on the wall, once it has done what it was told."""
    if not torch.cuda.is_available():
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def reset_peak_mib() -> float:
    """Forget the most memory that was in use so far; return what is now.

    On a GPU that is what tensors take, else the resident set of this process (Linux).
    """
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated() / MIB
    Path("/proc/self/clear_refs").write_text("5")
    return _status_mib("VmRSS")


def peak_mib() -> float:
    """Return the most memory that was in use since it was last forgotten."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / MIB
    return _status_mib("VmHWM")


def _status_mib(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:"))
