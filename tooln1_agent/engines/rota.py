"""Whose turn it is among several servers; those that went away are asked whether they are back."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from tooln1_agent.errors import EngineBusy, EngineDown, ToolN1Error

log = logging.getLogger("tooln1_agent.engines.rota")

ASIDE_S = 5.0
"""Pause before a server that went away is asked whether it is back, and between two such checks."""

Member = TypeVar("Member")


class Rota(Generic[Member]):
    """Goes round. Who is away comes last, until a check finds it well.

    Checks run beside the calls that give rise to them, so that no call waits for a dead server
    while another answers.
    """

    def __init__(
        self,
        members: Sequence[Member],
        check: Callable[[Member], Awaitable[None]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the members; all count as present.

        Args:
            check: raises an error of ours unless a member can be given calls.
            clock: seconds, from whenever.
        """
        self.members = tuple(members)
        self._check, self._clock = check, clock
        self._turn = 0
        self._away: dict[int, float] = {}
        """By place, when the next check is due."""
        self._checks: set[asyncio.Task[None]] = set()

    @property
    def present(self) -> list[Member]:
        """All that are not away."""
        return [m for place, m in enumerate(self.members) if place not in self._away]

    async def begin(self, start: Callable[[Member], Awaitable[None]]) -> None:
        """Start all members; those that do not answer are away.

        Raises:
            EngineDown: none answers.
        """
        results = await asyncio.gather(*map(start, self.members), return_exceptions=True)
        for member, result in zip(self.members, results, strict=True):
            if isinstance(result, EngineDown):
                self.put_aside(member, result)
            elif isinstance(result, BaseException):
                raise result
        if not self.present:
            raise EngineDown(f"none of {len(results)} engines answers: {results[-1]}")

    def in_turn(self) -> list[Member]:
        """Return the members in the order to be asked; see to the checks that are due."""
        now = self._clock()
        for place in [place for place, due in self._away.items() if due <= now]:
            self._away[place] = now + ASIDE_S
            task = asyncio.create_task(self._look_after(place))
            self._checks.add(task)
            task.add_done_callback(self._checks.discard)
        count = len(self.members)
        self._turn = (self._turn + 1) % count
        order = [(self._turn + offset) % count for offset in range(count)]
        return [self.members[place] for place in sorted(order, key=self._away.__contains__)]

    def put_aside(self, member: Member, why: EngineDown) -> None:
        """Give a member no calls, while others are present, until a check finds it well."""
        place = self.members.index(member)
        if place not in self._away:
            log.warning("server %d of %d is away: %s", place + 1, len(self.members), why)
        self._away[place] = self._clock() + ASIDE_S

    async def aclose(self) -> None:
        """End the checks that run."""
        checks = tuple(self._checks)
        for task in checks:
            task.cancel()
        await asyncio.gather(*checks, return_exceptions=True)

    async def _look_after(self, place: int) -> None:
        try:
            await self._check(self.members[place])
        except (EngineBusy, EngineDown):
            return  # as was known
        except ToolN1Error as error:
            log.error("server %d of %d stays away: %s", place + 1, len(self.members), error)
            return
        self._away.pop(place, None)
        log.info("server %d of %d is back", place + 1, len(self.members))
