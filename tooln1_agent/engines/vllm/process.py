"""A vLLM server as a child process: started, watched, started again after a crash, stopped.

A thread does the watching, so that it goes on whatever event loops come and go. The child has a
process group of its own: a terminal's Ctrl-C reaches us alone, and we stop it when our own
requests are done. Should we be killed, the kernel tells the child to end.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path

import httpx

from tooln1_agent.errors import EngineDown

log = logging.getLogger("tooln1_agent.engines.vllm")

_LOOK_EVERY_S = 0.2
_SAY_EVERY_S = 10.0
_LONGEST_BACK_OFF_S = 60.0
_STEADY_S = 300.0
"""A child that has run for so long may be started again at once."""
_LEFTOVERS_S = 5.0
"""How long what is left of the child's group may take to be gone."""
_TAIL_BYTES, _TAIL_LINES = 8192, 5


class VllmProcess:
    """Keeps one vLLM server running from `start` to `aclose`."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        root: str,
        api_key: str,
        environment: Mapping[str, str],
        log_file: Path,
        back_off_s: float = 1.0,
        grace_s: float = 20.0,
    ) -> None:
        """Describe the child; nothing is started yet.

        Args:
            root: the address at which it is going to answer.
            log_file: takes all that it prints.
            back_off_s: pause before it is started again; it doubles with each crash.
            grace_s: how long it may take to stop.
        """
        self.root, self.api_key = root, api_key
        self._command, self._environment = list(command), dict(environment)
        self._log_file, self._back_off_s, self._grace_s = log_file, back_off_s, grace_s
        self._first: Future[None] = Future()
        """Whether it has come up the first time; later crashes do not touch it."""
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._is_up = False
        self.pid: int | None = None
        """Of the child that runs."""
        self.restarts = 0

    def check(self) -> None:
        """Raise EngineDown while the child does not answer."""
        if not self._is_up:
            raise EngineDown(f"vLLM is not up; it is being started, see {str(self._log_file)!r}")

    async def start(self) -> None:
        """Start the child and return when it answers.

        Raises:
            EngineDown: it ended before that; says what it printed last.
        """
        if self._thread is None:
            self._thread = threading.Thread(target=self._keep_running, name="vllm", daemon=True)
            self._thread.start()
        await asyncio.shield(asyncio.wrap_future(self._first))

    async def aclose(self) -> None:
        """Stop the child and all that it started."""
        self._closing.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    def _keep_running(self) -> None:
        back_off_s = self._back_off_s
        while not self._closing.is_set():
            began = time.monotonic()
            code = self._run_once()
            if self._closing.is_set():
                break
            if not self._first.done():
                what = f"vLLM ended with code {code} before it answered; it said:\n{self._tail()}"
                self._first.set_exception(EngineDown(what))
                return
            if time.monotonic() - began > _STEADY_S:
                back_off_s = self._back_off_s
            log.error(
                "vLLM ended with code %s; it is started again in %.0f s. It said:\n%s",
                code,
                back_off_s,
                self._tail(),
            )
            self.restarts += 1
            self._closing.wait(back_off_s)
            back_off_s = min(2 * back_off_s, _LONGEST_BACK_OFF_S)
        if not self._first.done():
            self._first.set_exception(EngineDown("the engine was closed"))

    def _run_once(self) -> int:
        """Run the child to its end, or to ours; return its exit code."""
        with self._log_file.open("ab") as out:
            child = subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid = child.pid
        log.info("vLLM is started at %s (process %d)", self.root, child.pid)
        try:
            self._wait_until_up(child)
            while child.poll() is None and not self._closing.wait(_LOOK_EVERY_S):
                pass
        finally:
            self._is_up, self.pid = False, None
            self._end(child)
        return child.returncode

    def _wait_until_up(self, child: subprocess.Popen[bytes]) -> None:
        began = said = time.monotonic()
        while child.poll() is None and not self._closing.wait(_LOOK_EVERY_S):
            if self._answers():
                self._is_up = True
                log.info("vLLM answers after %.0f s", time.monotonic() - began)
                if not self._first.done():
                    self._first.set_result(None)
                return
            if time.monotonic() - said > _SAY_EVERY_S:
                said = time.monotonic()
                last = self._tail().splitlines()[-1:]
                log.info("vLLM is starting for %.0f s: %s", said - began, *last or [""])

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.root}/health", timeout=2.0, trust_env=False).is_success
        except httpx.HTTPError:
            return False

    def _end(self, child: subprocess.Popen[bytes]) -> None:
        """Ask the child to end, then end whatever is left of its group, and with it its memory."""
        child.terminate()
        with suppress(subprocess.TimeoutExpired):
            child.wait(self._grace_s)
        deadline = time.monotonic() + _LEFTOVERS_S
        with suppress(ProcessLookupError):
            while time.monotonic() < deadline:
                os.killpg(child.pid, signal.SIGKILL)
                child.poll()
                time.sleep(_LOOK_EVERY_S)
        child.wait()

    def _tail(self) -> str:
        """Return the last lines of the log."""
        with self._log_file.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
        return "\n".join([line for line in lines if line.strip()][-_TAIL_LINES:])
