"""Engines on model servers: a vLLM of our own, or whatever runs at the URLs that are given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from tooln1_agent.engines.base import Engine
from tooln1_agent.engines.http import HttpEngine
from tooln1_agent.engines.pool import PooledEngine, ServedEngine
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

    With a model directory they are vLLM servers of that model and are asked in token ids; with
    any other name of a model they are servers of whatever kind and are asked in chat.

    Raises:
        ConfigError: a URL is none.
    """
    roots = [server_root(url) for url in urls]
    engines: list[ServedEngine]
    if model == "seed" or Path(model).is_dir():
        directory = model_dir(model)
        engines = [
            VllmEngine(directory, RunningServer(root, api_key), context_limit=context_limit)
            for root in roots
        ]
    else:
        engines = [
            HttpEngine(f"{root}/v1", model, context_limit=context_limit, api_key=api_key)
            for root in roots
        ]
    return engines[0] if len(engines) == 1 else PooledEngine(engines)


def server_root(url: str) -> str:
    """Return a server's URL without its last part, "/v1"; raises ConfigError where it is none."""
    parts = urlsplit(url.strip())
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ConfigError(
            f"engine {url!r}: expected 'local', 'vllm', or the URL of a server, e.g. "
            "http://127.0.0.1:8000/v1"
        )
    return url.strip().rstrip("/").removesuffix("/v1")
