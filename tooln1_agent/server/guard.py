"""The outermost layer: which hosts and web pages may talk to us, and a count of every answer.

On loopback the Host header must name this machine, else a web page could reach the server by
pointing a name of its own at 127.0.0.1 (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tooln1_agent.config import ServeConfig
from tooln1_agent.server.problems import ApiError, as_api_error
from tooln1_agent.telemetry import Metrics

log = logging.getLogger("tooln1_agent.server")

_SHUTTING_DOWN = ApiError(
    503, "the server is shutting down; try again", code="shutting_down", retry_after_s=5.0
)
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
OTHER_PATH = "other"
"""What metrics call a path that does not exist, so that nobody can make up labels."""


class Guard:
    """ASGI middleware; see the module."""

    def __init__(
        self, app: ASGIApp, *, config: ServeConfig, metrics: Metrics, paths: Collection[str]
    ) -> None:
        self._app, self._metrics, self._paths = app, metrics, frozenset(paths)
        self._origins = frozenset(config.allowed_origins)
        restricted = config.is_loopback or config.allowed_hosts
        self._hosts = _LOOPBACK | {h.lower() for h in config.allowed_hosts} if restricted else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, started = 0, time.perf_counter()

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            self._admit(Headers(scope=scope))
            await self._app(scope, receive, noting)
        except asyncio.CancelledError:  # only the end of the grace time cancels a request
            log.warning("a request to %s was cut off by the shutdown", scope["path"])
            if not status:
                await _SHUTTING_DOWN.response()(scope, receive, noting)
        except Exception as error:  # around a server request
            problem = as_api_error(error)
            if not status:
                await problem.response()(scope, receive, noting)
        finally:
            path = scope["path"] if scope["path"] in self._paths else OTHER_PATH
            self._metrics.requests.labels(path, str(status or "none")).inc()
            self._metrics.request_seconds.labels(path).observe(time.perf_counter() - started)

    def _admit(self, headers: Headers) -> None:
        host = _host_name(headers.get("host", ""))
        if self._hosts is not None and host not in self._hosts:
            raise ApiError(
                403,
                f"host {host!r} is not served here; the operator can add it to allowed_hosts",
                code="host_not_allowed",
            )
        origin = headers.get("origin")
        if origin is None or origin in self._origins:
            return
        if self._hosts is not None and _host_name(urlsplit(origin).netloc) not in self._hosts:
            raise ApiError(
                403,
                f"web pages of {origin!r} may not call this server; the operator can add the "
                "origin to allowed_origins",
                code="origin_not_allowed",
            )


def _host_name(host: str) -> str:
    """Cut the port off: `[::1]:8300` gives `::1`."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()
