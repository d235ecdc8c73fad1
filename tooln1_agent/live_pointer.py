"""Which adapter version is live, what was live before, and who moved the pointer when and why.

`live.json` decides, alone, and changes by one rename; it holds the last move in full, so that a
process that dies before `history.jsonl` has its line loses nothing. Moves need the caller's lock.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from tooln1_agent.durable import append_line, whole_lines, write_whole
from tooln1_agent.errors import AdapterError

_FROZEN = ConfigDict(frozen=True, extra="forbid")


class Move(BaseModel):
    """One move of the pointer: who, when and why, from where to where (None: no adapter)."""

    model_config = _FROZEN

    number: int
    """1 for the first move, then one more for each."""
    at: datetime
    who: str
    action: Literal["promote", "rollback"]
    reason: str
    before: str | None
    after: str | None


class Live(BaseModel):
    """The pointer as it stands."""

    model_config = _FROZEN

    version: str | None = None
    """The live adapter version; None is the base model alone."""
    earlier: tuple[str | None, ...] = ()
    """What was live before, oldest first, less what was rolled back."""
    move: Move | None = None
    """How it came to stand there; None before the first move."""


class LivePointer:
    """The pointer files of one adapter directory."""

    def __init__(self, root: Path) -> None:
        self._file = root / "live.json"
        self._history = root / "history.jsonl"

    def read(self) -> Live:
        """Return the pointer; raises AdapterError where its file is damaged."""
        try:
            return Live.model_validate_json(self._file.read_bytes())
        except FileNotFoundError:
            return Live()
        except (OSError, ValidationError) as error:
            raise AdapterError(
                f"{str(self._file)!r} cannot be read ({error}); the last line of "
                f"{self._history.name!r} says what was live: remove the file and promote that"
            ) from error

    def history(self) -> tuple[Move, ...]:
        """Return every move, oldest first; raises AdapterError where a line is damaged."""
        try:
            moves = tuple(map(Move.model_validate_json, whole_lines(self._history)))
        except ValidationError as error:
            raise AdapterError(
                f"{str(self._history)!r} has a damaged line ({error}); mend or remove that line"
            ) from error
        last = self.read().move
        if last is not None and (not moves or moves[-1].number < last.number):
            return (*moves, last)
        return moves

    def promote(self, version: str | None, *, reason: str, who: str | None) -> None:
        """Point at a version, keeping what was live as the place to roll back to."""
        now = self.read()
        earlier = (*now.earlier, now.version)
        self._move(now, version, earlier=earlier, action="promote", reason=reason, who=who)

    def roll_back(self, *, reason: str, who: str | None) -> None:
        """Point at what was live before; `earlier` must not be empty."""
        now = self.read()
        *earlier, version = now.earlier
        self._move(now, version, earlier=earlier, action="rollback", reason=reason, who=who)

    def _move(
        self,
        now: Live,
        version: str | None,
        *,
        earlier: Sequence[str | None],
        action: Literal["promote", "rollback"],
        reason: str,
        who: str | None,
    ) -> None:
        moves = self.history()
        if len(moves) > len(whole_lines(self._history)):
            append_line(self._history, moves[-1].model_dump_json())
        move = Move(
            number=moves[-1].number + 1 if moves else 1,
            at=datetime.now(UTC),
            who=who or _user(),
            action=action,
            reason=reason,
            before=now.version,
            after=version,
        )
        live = Live(version=version, earlier=tuple(earlier), move=move)
        write_whole(self._file, live.model_dump_json(indent=2))
        append_line(self._history, move.model_dump_json())


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container without an entry for its user
        return f"uid {os.getuid()}"
