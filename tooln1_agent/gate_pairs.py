"""Live's and the candidate's replies side by side, and what they add up to on each slice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from tooln1_agent.examples import Example, called_tools
from tooln1_agent.gate_report import Slice
from tooln1_agent.parsing import parse
from tooln1_agent.reward import Score, score


@dataclass(frozen=True, slots=True)
class Worth:
    """What one reply was worth."""

    right: bool
    well_formed: bool
    dodges: bool
    """It answers without a call where one was due."""
    chars: int


@dataclass(frozen=True, slots=True)
class Pair:
    """One example and what both replies to it were worth."""

    example: Example
    live: Worth
    candidate: Worth


def pair_up(example: Example, live_text: str, candidate_text: str, *, score: Score = score) -> Pair:
    """Score both replies to an example."""
    live, candidate = (_worth(example, text, score) for text in (live_text, candidate_text))
    return Pair(example, live, candidate)


def slice_of(
    name: str, pairs: Sequence[Pair], *, claim: Callable[[Worth], bool] = lambda o: o.right
) -> Slice:
    """Count on how many pairs a claim holds for both replies, one of them, or none."""
    counts = Counter((claim(pair.live), claim(pair.candidate)) for pair in pairs)
    both, wins, losses = counts[True, True], counts[False, True], counts[True, False]
    return Slice(
        name=name,
        n=len(pairs),
        live_right=both + losses,
        candidate_right=both + wins,
        wins=wins,
        losses=losses,
    )


def tool_slices(pairs: Sequence[Pair]) -> tuple[Slice, ...]:
    """Return one slice for each tool that a target calls, by name."""
    by_tool: dict[str, list[Pair]] = {}
    for pair in pairs:
        for name in called_tools(pair.example.target):
            by_tool.setdefault(name, []).append(pair)
    return tuple(slice_of(name, by_tool[name]) for name in sorted(by_tool))


def imported_slice(pairs: Sequence[Pair]) -> Slice | None:
    """Return the slice of imported prompts; None where all were imported, or none was."""
    imported = [pair for pair in pairs if pair.example.imported]
    return slice_of("imported", imported) if 0 < len(imported) < len(pairs) else None


def length_ratio(pairs: Sequence[Pair], *, at_least: int) -> float | None:
    """Return the candidate's median reply length over live's, where both are well formed.

    A malformed reply has no length worth comparing; None for fewer than `at_least` pairs.
    """
    sound = [pair for pair in pairs if pair.live.well_formed and pair.candidate.well_formed]
    if len(sound) < at_least:
        return None
    return median(p.candidate.chars for p in sound) / median(p.live.chars for p in sound)


def _worth(example: Example, text: str, score: Score) -> Worth:
    reply = parse(text)
    return Worth(
        right=score(text, tools=example.tools, target=example.target).value == 1.0,
        well_formed=not reply.faults,
        dodges=example.is_call and not reply.calls and not reply.faults,
        chars=len(text),
    )
