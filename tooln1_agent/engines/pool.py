"""Several engines of one model behind one: calls go round, past those that do not answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tooln1_agent.engines.base import Engine, EngineInfo, ModelRequest
from tooln1_agent.engines.rota import Rota
from tooln1_agent.errors import AdapterError, ConfigError, EngineBusy, EngineDown
from tooln1_agent.messages import Completion


class ServedEngine(Engine, Protocol):
    """An engine on a server that may go away and come back."""

    async def check(self) -> None:
        """Raise an error of ours unless the server can be given calls."""
        ...


@dataclass(slots=True, eq=False)
class _Member:
    engine: ServedEngine
    loaded: set[str] = field(default_factory=set)


class PooledEngine:
    """Serves a model through whichever of its engines answers.

    A call that fails before its first text goes on to the next engine. One that fails later has
    failed, since its text is out already. An engine that was away is given the adapters that it
    missed before it gets calls again.
    """

    def __init__(
        self, engines: Sequence[ServedEngine], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Take the engines, which must be of one base model.

        Args:
            clock: seconds, from whenever.

        Raises:
            ConfigError: there is none, or they differ in model or template.
        """
        kinds = {(e.info.base_model, e.info.prompt_version, e.info.capability) for e in engines}
        if len(kinds) != 1:
            raise ConfigError(
                f"a pool needs engines of one model and template, got {sorted(kinds)}"
            )
        members = [_Member(engine) for engine in engines]
        self._rota = Rota(members, self._check, clock=clock)
        self._adapters: dict[str, Path] = {}
        self._has_begun = False

    @property
    def info(self) -> EngineInfo:
        """Of the member with the smallest context."""
        infos = [member.engine.info for member in self._rota.members]
        return min(infos, key=lambda info: info.context_limit or 0)

    async def start(self) -> None:
        """Start all; raises EngineDown where none of them comes up."""
        if not self._has_begun:
            await self._rota.begin(lambda member: member.engine.start())
            self._has_begun = True

    async def stream(self, request: ModelRequest) -> AsyncGenerator[str | Completion, None]:
        problem: EngineBusy | EngineDown | None = None
        for member in self._rota.in_turn():
            has_begun = False
            try:
                await self._equip(member, request.adapter)
                async with aclosing(member.engine.stream(request)) as pieces:
                    async for piece in pieces:
                        has_begun = True
                        yield piece
                return
            except EngineDown as error:
                self._rota.put_aside(member, error)
                if has_begun:
                    raise
                problem = problem or error
            except EngineBusy as error:
                if has_begun:
                    raise
                problem = error  # says when to come back
        assert problem is not None
        raise problem

    async def load_adapter(self, version: str, path: Path) -> None:
        """Load an adapter on every engine that answers.

        Raises:
            AdapterError: one of them refuses it; it is then on none.
            EngineDown: none answers.
        """
        self._adapters[version] = path
        able = self._rota.present or self._rota.members
        results = await asyncio.gather(
            *(self._equip(member, version) for member in able), return_exceptions=True
        )
        problems = [result for result in results if isinstance(result, BaseException)]
        for member, result in zip(able, results, strict=True):
            if isinstance(result, EngineDown):
                self._rota.put_aside(member, result)
        refusals = [problem for problem in problems if not isinstance(problem, EngineDown)]
        if refusals or len(problems) == len(able):
            await self.unload_adapter(version)
            raise (refusals or problems)[0]

    async def unload_adapter(self, version: str) -> None:
        self._adapters.pop(version, None)
        for member in self._rota.members:
            if version in member.loaded:
                member.loaded.discard(version)
                await member.engine.unload_adapter(version)

    async def aclose(self) -> None:
        await self._rota.aclose()
        await asyncio.gather(*(member.engine.aclose() for member in self._rota.members))

    async def _equip(self, member: _Member, version: str | None) -> None:
        """See to it that a member has an adapter."""
        if version is None or version in member.loaded:
            return
        path = self._adapters.get(version)
        if path is None:
            raise AdapterError(
                f"adapter {version!r} is not loaded; loaded: {sorted(self._adapters)}"
            )
        await member.engine.load_adapter(version, path)
        member.loaded.add(version)

    async def _check(self, member: _Member) -> None:
        """Raise an error of ours unless a member answers and has all adapters."""
        await member.engine.check()
        for version in tuple(self._adapters):
            await self._equip(member, version)
