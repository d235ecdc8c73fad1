"""What the gate found, as a record to keep and as lines to read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import BaseModel, ConfigDict

from tooln1_agent.significance import Interval, wilson

Outcome = Literal["pass", "refuse", "inconclusive"]

_FROZEN = ConfigDict(frozen=True, extra="forbid")
_LISTED, _TOOLS_SHOWN = 5, 12


class Slice(BaseModel):
    """Live and candidate on one part of the held-out examples, example by example."""

    model_config = _FROZEN

    name: str
    n: int
    live_right: int
    candidate_right: int
    wins: int
    """Examples that the candidate alone has right."""
    losses: int
    """Examples that live alone has right."""

    @property
    def drop(self) -> float:
        """Share of the examples lost on balance; negative where the candidate is better."""
        return (self.losses - self.wins) / self.n if self.n else 0.0

    @property
    def live_interval(self) -> Interval:
        """95 % Wilson interval of live's share of right replies."""
        return wilson(self.live_right, self.n)

    @property
    def candidate_interval(self) -> Interval:
        """95 % Wilson interval of the candidate's share of right replies."""
        return wilson(self.candidate_right, self.n)


class GateReport(BaseModel):
    """The verdict on one candidate against what is live."""

    model_config = _FROZEN

    candidate: str
    live: str | None
    """The version it was judged against; None is the base model alone."""
    outcome: Outcome
    reasons: tuple[str, ...]
    """Why, in plain words, the most important first."""
    n: int
    label_mix: dict[str, int]
    """Examples by the source of their label."""
    overall: Slice
    call: Slice
    """Examples whose right reply calls something."""
    no_call: Slice
    format: Slice
    """All examples; "right" is a reply without format fault, whatever it calls."""
    tools: tuple[Slice, ...]
    """One for each tool that a target calls; an example with two tools is in both."""
    imported: Slice | None = None
    """Prompts from data sets, beside those that were served; None where there are not both."""
    p_value: float
    """One-sided, exact: that the candidate wins this often if it is no better."""
    alpha: float
    """The level that p_value was held against, after spending for earlier uses."""
    prior_uses: int
    """How often candidates were judged on this holdout before."""
    live_dodges: int
    """Call examples that live answered without any call."""
    candidate_dodges: int
    length_ratio: float | None
    """Median reply length, candidate / live, over pairs that are both well formed; None where
    there are too few of them."""
    won: tuple[str, ...]
    """Ids of the examples behind the wins."""
    lost: tuple[str, ...]

    @property
    def wins(self) -> int:
        return self.overall.wins

    @property
    def losses(self) -> int:
        return self.overall.losses

    def lines(self) -> tuple[str, ...]:
        """Render for a terminal or a log, without colour."""
        return tuple(self._lines())

    def _lines(self) -> Iterator[str]:
        yield f"gate: {self.outcome.upper()}"
        yield from (f"  - {reason}" for reason in self.reasons)
        yield f"candidate {self.candidate} against {self.live or 'the base model alone'}"
        mix = ", ".join(f"{count} {source}" for source, count in sorted(self.label_mix.items()))
        yield f"{self.n} held-out examples ({mix or 'no labels'}), used {self.prior_uses} x before"
        yield (
            f"{self.wins} won, {self.losses} lost, p = {self.p_value:.4g} "
            f"against a level of {self.alpha:.4g}"
        )
        yield f"{'':24} {'n':>5}  {'live':>21}  {'candidate':>21}  {'won':>4} {'lost':>4}"
        tools = sorted(self.tools, key=lambda tool: (-tool.n, tool.name))
        whole = (self.overall, self.call, self.no_call, self.format)
        for part in (*whole, *filter(None, [self.imported]), *tools[:_TOOLS_SHOWN]):
            yield _row(part)
        if len(tools) > _TOOLS_SHOWN:
            yield f"… and {len(tools) - _TOOLS_SHOWN} tools with fewer examples"
        yield f"calls dodged: live {self.live_dodges}, candidate {self.candidate_dodges}"
        if self.length_ratio is not None:
            yield f"median reply length: {self.length_ratio:.2f} x live's"
        if self.lost:
            more = len(self.lost) - _LISTED
            shown = ", ".join(self.lost[:_LISTED]) + (f" and {more} more" if more > 0 else "")
            yield f"lost examples: {shown}"


def _row(part: Slice) -> str:
    live = _share(part.live_right, part.n, part.live_interval)
    candidate = _share(part.candidate_right, part.n, part.candidate_interval)
    return (
        f"{part.name[:24]:24} {part.n:5d}  {live:>21}  {candidate:>21}"
        f"  {part.wins:4d} {part.losses:4d}"
    )


def _share(right: int, n: int, interval: Interval) -> str:
    """Write a share in per cent with its 95 % interval."""
    if not n:
        return "-"
    return f"{right / n:6.1%} [{interval.low:5.1%}, {interval.high:6.1%}]"
