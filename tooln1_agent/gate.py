"""The gate: whether a candidate adapter may take the place of the live one.

Paired and greedy: both answered the same held-out examples once each, and every reply was scored
by the function that also trains. Being better overall has to be shown by an exact test; being
worse anywhere that matters is enough to be refused; what cannot be shown either way is
inconclusive. Texts go in, a report comes out; pure where `score` is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from pydantic import BaseModel, ConfigDict, Field

from tooln1_agent.examples import HOLDOUT_SOURCES, Example
from tooln1_agent.gate_pairs import imported_slice, length_ratio, pair_up, slice_of, tool_slices
from tooln1_agent.gate_report import GateReport, Outcome, Slice
from tooln1_agent.reward import Score, score
from tooln1_agent.significance import holm, sign_test, spent_alpha

__all__ = ["GateConfig", "GateReport", "judge_candidate"]


class GateConfig(BaseModel):
    """What a candidate has to show, and what it must not lose."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    alpha: float = Field(default=0.05, gt=0.0, lt=0.5)
    """Chance that any candidate that is no better passes, over all uses of one holdout."""
    drop_alpha: float = Field(default=0.05, gt=0.0, lt=0.5)
    """Chance that a drop is found anywhere (Holm, over all slices) where there is none."""
    min_examples: int = Field(default=30, ge=1)
    """Fewer held-out examples decide nothing."""
    min_discordant: int = Field(default=6, ge=1)
    """Fewer examples on which the two differ decide nothing."""
    call_margin: float = Field(default=0.0, ge=0.0, le=1.0)
    """Refuse where call accuracy falls by more than this, however much anything else rises."""
    no_call_margin: float = Field(default=0.1, ge=0.0, le=1.0)
    """The same for no-call accuracy."""
    format_margin: float = Field(default=0.05, ge=0.0, le=1.0)
    """The same for the share of well-formed replies."""
    tool_margin: float = Field(default=0.2, ge=0.0, le=1.0)
    """The same for the accuracy on any one tool."""
    imported_margin: float = Field(default=0.05, ge=0.0, le=1.0)
    """The same for imported prompts beside served ones: what must not be unlearned."""
    dodge_margin: float = Field(default=0.1, ge=0.0, le=1.0)
    """Refuse where the share of call examples answered without a call rises by more than this."""
    min_slice: int = Field(default=10, ge=1)
    """A tool, the no-call examples or reply lengths are judged from this many examples on."""
    max_length_ratio: float = Field(default=2.0, gt=1.0)
    """Refuse where the median reply is longer or shorter than live's by more than this factor."""
    must_pass: tuple[str, ...] = ()
    """Ids of examples of which the candidate may lose none that live has right."""


def judge_candidate(
    examples: Sequence[Example],
    live_texts: Sequence[str],
    candidate_texts: Sequence[str],
    *,
    config: GateConfig,
    candidate: str,
    live: str | None,
    prior_uses: int,
    score: Score = score,
) -> GateReport:
    """Judge a candidate by what it and the live adapter replied to the same examples.

    Args:
        live_texts: one completion for each example, in their order.
        candidate_texts: the same from the candidate.
        prior_uses: how often candidates were judged on this holdout before.

    Raises ValueError where texts and examples do not match one to one, or where an example is not
    fit to judge by: of the training side, weakly labelled, or there twice.
    """
    _check(examples)
    rows = zip(examples, live_texts, candidate_texts, strict=True)
    pairs = [pair_up(*row, score=score) for row in rows]
    overall = slice_of("all", pairs)
    found = GateReport(
        candidate=candidate,
        live=live,
        outcome="inconclusive",
        reasons=(),
        n=len(pairs),
        label_mix=dict(Counter(example.source for example in examples)),
        overall=overall,
        call=slice_of("call", [p for p in pairs if p.example.is_call]),
        no_call=slice_of("no call", [p for p in pairs if not p.example.is_call]),
        format=slice_of("well formed", pairs, claim=lambda worth: worth.well_formed),
        tools=tool_slices(pairs),
        imported=imported_slice(pairs),
        p_value=sign_test(overall.wins, overall.losses),
        alpha=spent_alpha(config.alpha, prior_uses),
        prior_uses=prior_uses,
        live_dodges=sum(p.live.dodges for p in pairs),
        candidate_dodges=sum(p.candidate.dodges for p in pairs),
        length_ratio=length_ratio(pairs, at_least=config.min_slice),
        won=tuple(p.example.id for p in pairs if p.candidate.right and not p.live.right),
        lost=tuple(p.example.id for p in pairs if p.live.right and not p.candidate.right),
    )
    outcome, reasons = _verdict(found, config, held_out={example.id for example in examples})
    return found.model_copy(update={"outcome": outcome, "reasons": reasons})


def _check(examples: Sequence[Example]) -> None:
    seen: set[str] = set()
    for example in examples:
        if example.split != "holdout" or example.source not in HOLDOUT_SOURCES:
            raise ValueError(
                f"example {example.id!r} ({example.split}, {example.source}) must not judge an "
                "adapter; give held-out examples labelled by a person, a verifier or a data set"
            )
        if example.id in seen:
            raise ValueError(f"example {example.id!r} is there twice; give each prompt once")
        seen.add(example.id)


def _verdict(
    found: GateReport, config: GateConfig, *, held_out: set[str]
) -> tuple[Outcome, tuple[str, ...]]:
    must_lost = [example for example in found.lost if example in config.must_pass]
    refusals = [f"must-pass example {example!r} was lost" for example in must_lost]
    enough = found.n >= config.min_examples
    if enough:
        refusals += [*_margins(found, config), *_significant_drops(found, config)]
    if refusals:
        return "refuse", tuple(refusals)
    if not enough:
        return "inconclusive", (
            f"{found.n} held-out examples decide nothing, at least {config.min_examples} are "
            "needed: label more turns",
        )
    doubts = tuple(_doubts(found, config, held_out))
    if doubts:
        return "inconclusive", doubts
    return "pass", (_better(found), *_unjudged(found, config))


def _margins(found: GateReport, config: GateConfig) -> Iterator[str]:
    """Yield what fell beyond its margin, significant or not."""
    judged = [(found.call, config.call_margin), (found.format, config.format_margin)]
    few = [(found.no_call, config.no_call_margin), *((t, config.tool_margin) for t in found.tools)]
    if found.imported is not None:
        few.append((found.imported, config.imported_margin))
    judged += [(part, margin) for part, margin in few if part.n >= config.min_slice]
    for part, margin in judged:
        if part.drop > margin:
            yield f"{_fall(part)}, more than the margin of {margin:.1%}"
    dodges = found.candidate_dodges - found.live_dodges
    if found.call.n and dodges / found.call.n > config.dodge_margin:
        yield (
            f"{found.candidate_dodges} of {found.call.n} requests that need a call are answered "
            f"without one ({found.live_dodges} by live): it avoids calling"
        )
    ratio = found.length_ratio
    if ratio is not None and not 1 / config.max_length_ratio <= ratio <= config.max_length_ratio:
        yield (
            f"the median reply is {ratio:.2f} times as long as live's; at most "
            f"{config.max_length_ratio:g} times longer or shorter is allowed"
        )


def _significant_drops(found: GateReport, config: GateConfig) -> Iterator[str]:
    """Yield the slices that got worse by more than chance, over all of them at once."""
    tools = (tool for tool in found.tools if tool.n >= config.min_slice)
    parts = [found.overall, found.call, found.no_call, found.format, *tools]
    parts += filter(None, [found.imported])
    p_values = [sign_test(part.losses, part.wins) for part in parts]
    for part, p_value, rejected in zip(
        parts, p_values, holm(p_values, config.drop_alpha), strict=True
    ):
        if rejected:
            yield f"{_fall(part)}, more than chance explains (p = {p_value:.2g})"


def _fall(part: Slice) -> str:
    return (
        f"{part.name}: fell from {part.live_right} to {part.candidate_right} right of {part.n} "
        f"({part.wins} won, {part.losses} lost)"
    )


def _doubts(found: GateReport, config: GateConfig, held_out: set[str]) -> Iterator[str]:
    """Yield what keeps a candidate from passing though nothing is known against it."""
    for example in config.must_pass:
        if example not in held_out:
            yield (
                f"must-pass example {example!r} is not among the held-out examples (expired or "
                "relabelled?): renew its label or take it off the list"
            )
    if found.wins + found.losses < config.min_discordant:
        yield (
            f"the two differ on {found.wins + found.losses} of {found.n} examples, at least "
            f"{config.min_discordant} are needed to tell"
        )
    elif found.p_value > found.alpha:
        spent = f", after {found.prior_uses} earlier uses of this holdout"
        yield (
            f"not shown to be better: {found.wins} won, {found.losses} lost, p = "
            f"{found.p_value:.2g} where at most {found.alpha:.2g} is allowed"
            f"{spent if found.prior_uses else ''}"
        )


def _better(found: GateReport) -> str:
    return (
        f"better: {found.wins} won, {found.losses} lost of {found.n}, p = {found.p_value:.2g} "
        f"(at most {found.alpha:.2g} is allowed); nothing fell"
    )


def _unjudged(found: GateReport, config: GateConfig) -> Iterator[str]:
    if found.no_call.n < config.min_slice:
        yield (
            f"note: {found.no_call.n} no-call examples are too few to see a harm to no-call "
            f"accuracy (from {config.min_slice} on)"
        )
    few = sum(tool.n < config.min_slice for tool in found.tools)
    if few:
        yield f"note: {few} of {len(found.tools)} tools have too few examples to be judged apart"
