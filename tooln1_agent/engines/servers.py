"""Engines on model servers: a vLLM of our own, or whatever runs at the URLs that are given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from tooln1_agent.engines.base import Engine
from tooln1_agent.engines.http import HttpEngine
from tooln1_agent.engines.resolve import model_dir
from tooln1_agent.engines.vllm.engine import VllmEngine
from tooln1_agent.engines.vllm.launch import child
from tooln1_agent.engines.vllm.running import RunningServer
from tooln1_agent.errors import ConfigError


def own_vllm(
    directory: Path,
    *,
    python: Path | None = None,
    arguments: Sequence[str] = (),
    log_file: Path = Path("vllm.log"),
    context_limit: int | None = None,
) -> VllmEngine:
    """Return an engine whose vLLM is started with it; see `launch.child`."""
    server = child(
        directory,
        python=python,
        arguments=arguments,
        log_file=log_file,
        context_limit=context_limit,
    )
    return VllmEngine(directory, server, context_limit=context_limit)


def running(
    urls: Sequence[str],
    model: str,
    *,
    api_key: str | None = None,
    context_limit: int | None = None,
) -> Engine:
    """Return an engine on servers that run already.

    With a model directory they are vLLM servers of that model and are asked in token ids. With
    any other name of a model, there is one server, of whatever kind, and it is asked in chat.

    Raises:
        ConfigError: a URL is none, or several are given for chat.
    """
    roots = [_root(url) for url in urls]
    if len(roots) > 1:
        raise ConfigError(f"engine: one URL is expected, got {len(roots)}")
    if model == "seed" or Path(model).is_dir():
        server = RunningServer(roots[0], api_key)
        return VllmEngine(model_dir(model), server, context_limit=context_limit)
    return HttpEngine(f"{roots[0]}/v1", model, context_limit=context_limit, api_key=api_key)


def _root(url: str) -> str:
    """Return a URL without its last part, "/v1"."""
    parts = urlsplit(url.strip())
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ConfigError(
            f"engine {url!r}: expected 'local', 'vllm', or the URL of a server, e.g. "
            "http://127.0.0.1:8000/v1"
        )
    return url.strip().rstrip("/").removesuffix("/v1")
