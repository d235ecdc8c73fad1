"""What the example houses share: an agent's settings, and a diary that its tools write into."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tool_registry import RunContext, Tool
from tooln1_agent import Agent
from tooln1_agent.limits import Limits
from tooln1_agent.messages import Sampling
from tooln1_agent.rules import Rule


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


def house_agent(*, tools: Iterable[Tool], instructions: str, rule: Rule) -> Agent:
    """Return the agent of a house; all houses are served alike, so that they can be compared."""
    return Agent(
        "seed",
        tools=tools,
        instructions=instructions,
        limits=Limits(max_turns=3),
        sampling=Sampling(max_tokens=128),  # its calls take 30 to 60
        rules=[rule],
        scratch=scratch,
    )
