"""Which adapter serves: follows the store's live pointer without a request that fails or waits.

A new version is loaded and tried beside the old one; then the pointer moves, which is what the
next model call sees; the old version is unloaded when its last call has ended. A version that
cannot be used is reported and counted, the old one stays, and it is tried again only after the
store's pointer has moved.
"""

from __future__ import annotations

import asyncio
import logging

from tooln1_agent.adapters import AdapterStore
from tooln1_agent.engines.base import ModelRequest, complete
from tooln1_agent.errors import EngineBusy, ToolN1Error
from tooln1_agent.messages import Message, Sampling
from tooln1_agent.server.tracked import TrackedEngine
from tooln1_agent.telemetry import BASE, Metrics

log = logging.getLogger("tooln1_agent.server")

_PROBE = (Message(role="user", content="Say hello."),)
_PROBE_SAMPLING = Sampling(temperature=0.0, max_tokens=16)


class AdapterPointer:
    """The adapter that serves; `version` is asked at each model call."""

    def __init__(
        self, engine: TrackedEngine, adapters: AdapterStore | None, *, metrics: Metrics
    ) -> None:
        self._engine, self._adapters, self._metrics = engine, adapters, metrics
        self._serving: str | None = None
        self._tried: tuple[str | None, ...] = ()
        """The version that the store last named, and that was tried; empty before the first."""
        self._retired: set[str] = set()
        self._swept: set[str] = set()
        self.problem: str | None = None
        """Why the store's live version does not serve; None where it does."""
        self.is_settled = adapters is None
        """Whether the store's live version has served since the start."""
        metrics.name_adapter(None)

    def version(self) -> str | None:
        """Return the version that serves the next model call; None is the base model alone."""
        return self._serving

    async def watch(self, *, every_s: float) -> None:
        """Look again and again, for as long as the server runs."""
        while self._adapters is not None:
            await asyncio.sleep(every_s)
            await self.look()

    async def look(self) -> None:
        """Catch up with the store once. Never raises: whatever is wrong, the old one serves on."""
        if self._adapters is None:
            return
        try:
            await self._unload_unused()
            wanted = await asyncio.to_thread(self._adapters.live_version)
        except Exception as error:  # a supervised loop
            self._report("the live pointer", error)
            return
        if self._tried == (wanted,):
            return
        try:
            await self._move(wanted)
        except EngineBusy as error:
            log.info("adapter %s waits for a free place: %s", wanted, error)
            return
        except Exception as error:  # a supervised loop
            self._report(f"adapter {wanted or BASE}", error)
        else:
            self.problem, self.is_settled = None, True
        self._tried = (wanted,)

    async def _move(self, wanted: str | None) -> None:
        """Put a version to use, or raise and leave everything as it was."""
        if wanted == self._serving:
            return
        if wanted is not None:
            await self._load(wanted)
        old, self._serving = self._serving, wanted
        if wanted is not None:
            self._retired.discard(wanted)
        if old is not None:
            self._retired.add(old)
        self._metrics.adapter_swaps.inc()
        self._metrics.name_adapter(wanted)
        log.info("adapter %s serves now, after %s", wanted or BASE, old or BASE)

    async def _load(self, version: str) -> None:
        assert self._adapters is not None
        adapter = await asyncio.to_thread(self._adapters.get, version)
        info = self._engine.info
        self._adapters.check_fits(
            adapter, base_model=info.base_model, prompt_version=info.prompt_version
        )
        await self._engine.load_adapter(version, adapter.path)
        request = ModelRequest(_PROBE, (), _PROBE_SAMPLING, version)
        try:
            completion = await complete(self._engine, request)
        except BaseException:
            if version not in self._retired:
                await self._engine.unload_adapter(version)
            raise
        log.info("adapter %s answers a probe with %r", version, completion.text)

    async def _unload_unused(self) -> None:
        """Unload what was unused at the last look and still is.

        The delay of one look covers a call that has read the pointer but not begun.
        """
        unused = {version for version in self._retired if not self._engine.in_flight(version)}
        for version in unused & self._swept:
            self._retired.discard(version)
            await self._engine.unload_adapter(version)
            log.info("adapter %s is unloaded", version)
        self._swept = unused & self._retired

    def _report(self, what: str, error: Exception) -> None:
        problem = f"{what} cannot be used: {str(error) or type(error).__name__}"
        if problem == self.problem:
            return  # that has been said
        self.problem = problem
        self._metrics.adapter_failures.inc()
        unforeseen = None if isinstance(error, ToolN1Error) else error
        log.error("%s; %s serves on", problem, self._serving or BASE, exc_info=unforeseen)
