"""Runs an application on a socket until it is told to stop, and lets running requests finish."""

from __future__ import annotations

import asyncio
import errno
import math
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from tooln1_agent.config import ServeConfig
from tooln1_agent.engines.base import Engine
from tooln1_agent.errors import ConfigError

_KEEP_ALIVE_S = 75
"""Longer than clients keep idle connections, so that it is they who close them."""
_BACKLOG = 2048
_CLEAN_UP_S = 10.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


async def serve(
    app: FastAPI, config: ServeConfig, *, engine: Engine, on_ready: Callable[[str], None]
) -> None:
    """Serve until SIGINT or SIGTERM; then finish running requests within `grace_s`.

    Args:
        engine: started before the first request is taken, so that what is wrong with the model is
            told plainly.
        on_ready: given the address once requests are taken.

    Raises:
        ConfigError: the address cannot be listened on, or the application did not start.
        ToolN1Error: what the engine raised at its start.
    """
    listener = listen(config.host, config.port)
    try:
        await engine.start()
        server = _Server(_uvicorn_config(app, config), on_ready=lambda: on_ready(url(listener)))
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, server.handle_exit, number, None)
        await server.serve(sockets=[listener])
        if cut_off := set(server.server_state.tasks):
            await asyncio.wait(cut_off, timeout=_CLEAN_UP_S)  # they still record how they ended
    finally:
        listener.close()
        await engine.aclose()
    if not server.started:
        raise ConfigError("the server could not start; what is wrong is logged above")


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Raises:
        ConfigError: says what is wrong with the address, and what to do.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        # With its protocol named, asyncio sends small pieces at once (TCP_NODELAY); without, the
        # second piece of a stream waits for the client's delayed acknowledgement, 40 ms.
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigError(f"host {host!r} cannot be resolved: {error.strerror}") from error
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise ConfigError(_bind_problem(error, host, port)) from error
    return listener


def url(listener: socket.socket) -> str:
    """Return where a listening socket is reached."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _bind_problem(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {port} on {host} is in use; stop what listens there or choose another with "
            "--port (0 takes a free one)"
        )
    if error.errno == errno.EACCES:
        return f"port {port} needs rights that this process lacks; choose one above 1023"
    return f"cannot listen on {host}:{port}: {error.strerror}"


class _Server(uvicorn.Server):
    """Leaves signals to us, so that the process ends by returning, and says when it is ready."""

    def __init__(self, config: uvicorn.Config, *, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started:
            self._on_ready()


def _uvicorn_config(app: FastAPI, config: ServeConfig) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="on",
        ws="none",
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=math.ceil(config.grace_s),
    )
