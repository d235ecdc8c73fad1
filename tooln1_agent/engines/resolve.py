"""From what a user writes for a model to the engine that runs it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tooln1_agent.errors import ConfigError

if TYPE_CHECKING:
    from tooln1_agent.engines.base import Engine

SEED_DIR = Path(__file__).resolve().parent.parent / "seed_model"
"""The model that is shipped in the package, under the name "seed"."""

_KINDS = (
    '"seed", the path of a model directory, "http(s)://HOST/v1#MODEL" for a chat server, or '
    '"scripted:FILE" for a JSON list of replies'
)


def resolve(name: str, *, context_limit: int | None = None, **options: Any) -> Engine:
    """Return the engine for a model's name; it loads its weights when it is started.

    Args:
        context_limit: prompt and completion tokens together; by default what the model declares.
        options: passed on to the engine.

    Raises:
        ConfigError: the name is of no known kind.
        ModelNotFound: the directory holds no model.
    """
    if name.startswith("scripted:"):
        from tooln1_agent.engines.scripted import ScriptedEngine

        path = Path(name.removeprefix("scripted:"))
        return ScriptedEngine(_read_script(path), context_limit=context_limit, **options)
    if name.startswith(("http://", "https://")):
        from tooln1_agent.engines.http import HttpEngine

        base_url, _, model = name.partition("#")
        return HttpEngine(base_url, model, context_limit=context_limit, **options)
    directory = model_dir(name)
    try:
        from tooln1_agent.engines.local.engine import LocalEngine
    except ImportError as error:
        raise ConfigError(
            f"running {name!r} in process needs {error.name!r}; install it with "
            "pip install 'tooln1-agent[local]'"
        ) from error
    return LocalEngine(directory, context_limit=context_limit, **options)


def half_the_cores() -> int:
    """Return how many threads a process takes when a server and a trainer share a machine.

    With more threads than free cores, torch's threads wait for each other: 30 times slower.
    """
    return max(1, (os.cpu_count() or 1) // 2)


def model_dir(name: str | Path) -> Path:
    """Return the directory of a model: of the one that is shipped for "seed", else the path.

    Raises:
        ConfigError: there is no such directory.
    """
    path = SEED_DIR if str(name) == "seed" else Path(name)
    if not path.is_dir():
        raise ConfigError(f"unknown model {str(name)!r}: expected {_KINDS}")
    return path


def _read_script(path: Path) -> list[str]:
    try:
        replies = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read the script {str(path)!r}: {error}") from error
    if not (isinstance(replies, list) and all(isinstance(reply, str) for reply in replies)):
        raise ConfigError(f"the script {str(path)!r} must be a JSON list of texts")
    return replies
