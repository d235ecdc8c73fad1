"""A work directory belongs to one set of settings and one model."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tooln1_agent.durable import write_whole
from tooln1_agent.engines.local.model import base_name
from tooln1_agent.engines.resolve import model_dir


def claim(work: Path, settings: Any, *, model: str) -> None:
    """Make a work directory of these settings (a dataclass), or go on with one.

    Raises:
        ValueError: it was begun with other settings or another model.
    """
    told = asdict(settings) | {"base_model": base_name(model_dir(model))}
    text = json.dumps(told, indent=2)
    path = work / "settings.json"
    work.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        write_whole(path, text)
    elif path.read_text(encoding="utf-8") != text:
        raise ValueError(
            f"{str(path)!r} is of other settings or another model: give another --work"
        )
