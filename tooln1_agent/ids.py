"""Identifiers we mint: short, sortable by time, and not to be guessed."""

from __future__ import annotations

import secrets
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def new_id(prefix: str) -> str:
    """Return e.g. `int_0k3v9c1q2m8x4f7t6b5n`: 45 bits of milliseconds, then 75 random bits."""
    number = (time.time_ns() // 1_000_000) << 75 | secrets.randbits(75)
    digits = [_ALPHABET[(number >> shift) & 31] for shift in range(115, -5, -5)]
    return f"{prefix}_{''.join(digits)}"
