"""Keeps memory that was freed for the next step, in place of giving it back to the system.

Each step of training on a CPU allocates the same large buffers anew. By default glibc maps those
above 32 MiB afresh every time, so that the kernel has to clear their pages again and again.
"""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_PAD_BYTES = 1 << 28


def keep_freed_memory() -> bool:
    """Have the C library keep what this process frees; return whether it can (glibc).

    What the process takes never shrinks from then on.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1), (_TOP_PAD, _PAD_BYTES))
    taken = [mallopt(option, value) for option, value in settings]
    return all(taken)
