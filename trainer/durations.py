"""Durations as people write them: 90s, 5m, 6h, 1d."""

from __future__ import annotations

import re

from tooln1_agent.errors import ConfigError

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_FORM = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd])")


def seconds(text: str) -> float:
    """Return the seconds that a text like `6h` stands for; raises ConfigError."""
    match = _FORM.fullmatch(text.strip().lower())
    if match is None or float(match[1]) <= 0:
        raise ConfigError(f"{text!r} is no duration; write a number and s, m, h or d, such as 6h")
    return float(match[1]) * _UNITS[match[2]]
