"""The two processes of the loop: the server, and commands that run beside it."""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

COMMAND = str(Path(sys.executable).with_name("tooln1-agent"))


class DemoError(Exception):
    """A step of the demo did not do what it must; the message says which and where to look."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running `tooln1-agent serve`."""

    url: str
    process: Process
    log: Path


@asynccontextmanager
async def serving(
    agent: str, flags: Sequence[str], *, log: Path, ready_timeout_s: float = 90.0
) -> AsyncIterator[Server]:
    """Start a server on a free port, wait until it is ready, and end it in any case.

    Raises:
        DemoError: it ended early or was not ready in time.
    """
    port = _free_port()
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            COMMAND, "serve", agent, *flags, "--port", str(port), stdout=output, stderr=output
        )
    server = Server(f"http://127.0.0.1:{port}", process, log)
    try:
        await _wait_ready(server, ready_timeout_s)
        yield server
    finally:
        await _end(process)


async def run_command(*arguments: str) -> int:
    """Run a `tooln1-agent` command with its own display; return its exit status."""
    process = await asyncio.create_subprocess_exec(COMMAND, *arguments)
    try:
        return await process.wait()
    finally:
        await _end(process)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _wait_ready(server: Server, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    async with httpx.AsyncClient(timeout=2.0) as client:
        while time.monotonic() < deadline:
            if server.process.returncode is not None:
                raise DemoError(f"the server ended while starting:\n{tail(server.log)}")
            if await _is_ready(client, server.url):
                return
            await asyncio.sleep(0.1)
    raise DemoError(f"the server was not ready after {timeout_s:.0f} s:\n{tail(server.log)}")


async def _is_ready(client: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(f"{url}/readyz")).is_success
    except httpx.TransportError:
        return False


def tail(log: Path, *, lines: int = 20) -> str:
    """Return the last lines of a log file."""
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


async def _end(process: Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), timeout=15)
    except TimeoutError:
        process.kill()
        await process.wait()
