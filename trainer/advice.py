"""Which method suits what a store holds: imitation, GRPO, or one after the other; and why.

The rules follow from what each method needs: imitation needs labels that name the calls, and GRPO
needs requests on which some sampled replies are right and others wrong. `benchmarks/learning.py` is
made to test them; it has not been run in full yet (docs/training.md, "Which method when").
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from tooln1_agent.examples import Exact, Example, NoCall

Method = Literal["grpo", "sft", "sft+grpo"]

FEW = 50
"""Fewer replies to imitate are learned by heart: a run of 60 steps shows each of them 20 times."""
MOSTLY_RIGHT = 0.9
HARDLY_RIGHT = 0.05
FEW_STEPS = 20
"""GRPO in fewer steps than this has hardly begun (docs/lab-notes.md, "The demo")."""
LONG_SPAN_DAYS = 90


@dataclass(frozen=True, slots=True)
class Holdings:
    """What of a store decides which method suits it."""

    gold: int
    """Training examples whose label names the calls, or says that there are none."""
    judged: int
    """Training examples whose label can only tell a right reply from a wrong one."""
    rejected: int
    """Labelled turns of which nothing is known but that they were wrong."""
    new: int
    """Training examples labelled since the live adapter was trained."""
    span_days: float
    """From the oldest label to the newest."""
    right_share: float | None
    """Share of the logged replies that are right; None where that is not known."""
    steps_in_time: float | None
    """Steps of GRPO for which the time will do; None where there is no limit or no earlier run."""


class Advice(NamedTuple):
    """A method, and what speaks for it."""

    method: Method
    reason: str
    notes: tuple[str, ...] = ()
    """What else to know about these labels, whichever the method."""

    def lines(self, *, chosen: Method) -> list[str]:
        """Say it in words, beside the method that was chosen."""
        instead = "as set" if chosen == self.method else f"instead of {chosen}"
        return [
            f"advised: --method {self.method} ({instead}): {self.reason}",
            *(f"  note: {note}" for note in self.notes),
        ]


def holdings_of(
    train: Sequence[Example],
    *,
    new: int,
    rejected: int,
    right_share: float | None,
    steps_in_time: float | None,
) -> Holdings:
    """Count what the training examples are labelled with; there must be one at least."""
    gold = sum(isinstance(example.target, Exact | NoCall) for example in train)
    given = [example.created_at for example in train]
    return Holdings(
        gold=gold,
        judged=len(train) - gold,
        rejected=rejected,
        new=new,
        span_days=(max(given) - min(given)).total_seconds() / 86_400,
        right_share=right_share,
        steps_in_time=steps_in_time,
    )


def advise(held: Holdings) -> Advice:
    """Return the method that suits; the first rule that holds decides."""
    method, reason = _method(held)
    return Advice(method, reason, tuple(_notes(held)))


def _method(held: Holdings) -> tuple[Method, str]:
    if not held.gold:
        return "grpo", (
            "no label names the calls, so there is nothing to imitate; GRPO only has to be told "
            "right from wrong"
        )
    right = held.right_share
    if right is not None and right >= MOSTLY_RIGHT:
        return "grpo", (
            f"{right:.0%} of what was served is right, so most of what could be imitated is known; "
            "GRPO learns from the requests on which replies still differ"
        )
    if held.steps_in_time is not None and held.steps_in_time < FEW_STEPS:
        return "sft", (
            f"the time is enough for {held.steps_in_time:.0f} steps of GRPO; imitation samples "
            f"nothing, and {held.gold} labels name the calls"
        )
    if right is not None and right < HARDLY_RIGHT:
        return "sft+grpo", (
            f"{right:.0%} of what was served is right, so most groups would be all wrong, and "
            f"teach nothing; imitate the {held.gold} labels that name the calls first"
        )
    if held.gold < FEW:
        return "grpo", (
            f"{held.gold} replies to imitate would be learned by heart; GRPO samples new ones in "
            "every step"
        )
    rest = f", and only GRPO learns from the other {held.judged}" if held.judged else ""
    return "sft+grpo", (
        f"{held.gold} labels name the calls: to imitate them is the cheap first step, and GRPO "
        f"goes further from there{rest}"
    )


def _notes(held: Holdings) -> Iterator[str]:
    count = held.gold + held.judged
    if count < FEW:
        yield f"{count} examples are few to judge by, and few to learn from; label {FEW} or more"
    if held.rejected:
        yield (
            f"{held.rejected} turns were only rejected, which teaches nothing: say what would have "
            "been right"
        )
    if not held.new:
        yield "no label is newer than the live adapter: it has seen all of these"
    if held.span_days > LONG_SPAN_DAYS:
        yield (
            f"the labels span {held.span_days:.0f} days: see what has changed since with "
            "`tooln1-agent labels --expired --agent ...`"
        )
