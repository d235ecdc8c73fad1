"""What the example houses share: a diary that their tools write into, real or for a judge."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tool_registry import RunContext


@dataclass(slots=True)
class Diary:
    """What a house has arranged so far, a line for each thing."""

    lines: list[str] = field(default_factory=list)

    def note(self, context: RunContext[Diary | None], line: str) -> str:
        """Enter a line and return it; a call that was given another diary writes into that one."""
        (context.deps or self).lines.append(line)
        return line


@contextmanager
def scratch() -> Iterator[Diary]:
    """Open an empty diary, for calls that are run again only to be judged."""
    yield Diary()
