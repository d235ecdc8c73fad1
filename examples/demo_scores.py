"""How often the replies were right, with an interval that says how sure that is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tooln1_agent.significance import Interval, wilson


class Tally(NamedTuple):
    """So many right of so many."""

    right: int
    n: int

    @property
    def share(self) -> float:
        return self.right / self.n if self.n else math.nan

    @property
    def interval(self) -> Interval:
        """Wilson's 95 % interval of the share."""
        return wilson(self.right, self.n)

    def __str__(self) -> str:
        low, high = self.interval
        if not self.n:
            return "none"
        return f"{self.share:.1%} ({low:.1%} to {high:.1%}; {self.right} of {self.n})"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One evaluation request: was the reply right, and what kind of request was it."""

    text: str
    is_call: bool
    ok: bool
    reason: str
    reply: str
    """The completion as the model wrote it."""
    adapter: str | None
    """The version that served it; None is the base model."""


GROUPS = ("all", "call", "no call")


def tally(verdicts: Iterable[Verdict], group: str) -> Tally:
    """Count the verdicts of one of the `GROUPS`."""
    chosen = [v.ok for v in verdicts if group == "all" or v.is_call == (group == "call")]
    return Tally(sum(chosen), len(chosen))


def changes(before: Sequence[Verdict], after: Sequence[Verdict]) -> tuple[int, int]:
    """Return how many of the same requests became right, and how many became wrong."""
    pairs = list(zip(before, after, strict=True))
    return sum(b.ok < a.ok for b, a in pairs), sum(b.ok > a.ok for b, a in pairs)
