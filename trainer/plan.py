"""What a run would learn from and how long it may take, told before it is started."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from tooln1_agent.errors import UnknownRecord
from tooln1_agent.examples import Example, Verify, called_tools
from tooln1_agent.replay.store import ReplayStore
from tooln1_agent.reward import score
from trainer.advice import Advice, advise, holdings_of
from trainer.config import GrpoConfig
from trainer.metrics import StepMetrics
from trainer.source import Found

NO_TOOL, ANY_TOOL = "(no call)", "(any tool)"


@dataclass(frozen=True, slots=True)
class Plan:
    """Counts of the examples on both sides of the split, and what can be said beforehand."""

    train: int
    new: int
    holdout: int
    by_source: dict[str, int]
    by_tool: dict[str, int]
    """Training examples by the tool they call."""
    no_call: int
    skipped: dict[str, int]
    """Labelled turns that give no example, by reason."""
    right_share: float | None
    """Share of the training examples whose logged reply was right; None where none was logged."""
    flat_share: float | None
    """Share of groups that would have no spread, if each tool's share of right replies held."""
    seconds_per_step: float | None
    """As measured in the newest run beside this one; None where there was none."""
    advice: Advice
    """Which method suits these examples."""
    notes: tuple[str, ...] = field(default=())

    def lines(self, config: GrpoConfig) -> list[str]:
        """Say it in words."""
        said = [
            f"examples to train on: {self.train} ({self.new} new, {self.no_call} without a call); "
            f"held out for the gate: {self.holdout}",
            f"  by label: {_counts(self.by_source)}",
            f"  by tool: {_counts(self.by_tool)}",
        ]
        if self.skipped:
            said.append(f"  labelled but not usable: {_counts(self.skipped)}")
        if self.right_share is not None and self.flat_share is not None:
            said.append(
                f"right when served: {self.right_share:.0%}; expect about {self.flat_share:.0%} of "
                f"groups of {config.group_size} without spread, or more where some requests are "
                "always right and others always wrong"
            )
        else:
            said.append("no logged replies to these examples, so spread cannot be foretold")
        said.append(self._time(config))
        return [*said, *self.notes, *self.advice.lines(chosen=config.method)]

    def _time(self, config: GrpoConfig) -> str:
        size = f"{config.prompts_per_step} prompts x {config.group_size} rollouts"
        if self.seconds_per_step is None:
            return f"at most {config.steps} steps of {size}; no earlier run here to tell the time"
        minutes = self.seconds_per_step * config.steps / 60
        return (
            f"at most {config.steps} steps of {size}, {minutes:.1f} minutes at the "
            f"{self.seconds_per_step:.1f} s a step of the last run"
        )


def make_plan(
    store: ReplayStore,
    found: Found,
    *,
    new: int,
    config: GrpoConfig,
    last_run: Sequence[StepMetrics] = (),
    notes: Iterable[str] = (),
) -> Plan:
    """Count the examples, and score what was served for them."""
    served: defaultdict[str, list[bool]] = defaultdict(list)
    for example in found.train:
        right = _was_right(store, example)
        if right is not None:
            served[_tool_of(example)].append(right)
    flat = [
        _flat_share(sum(rights), len(rights), config.group_size)
        for rights in served.values()
        for _ in rights
    ]
    every = [right for rights in served.values() for right in rights]
    seconds = fmean(s.sample_s + s.update_s for s in last_run) if last_run else None
    right_share = fmean(every) if every else None
    held = holdings_of(
        found.train,
        new=new,
        rejected=found.skipped.get("no_target", 0),
        right_share=right_share,
        steps_in_time=_over(config.time_limit_s, seconds),
    )
    return Plan(
        train=len(found.train),
        new=new,
        holdout=len(found.holdout),
        by_source=dict(Counter(example.source for example in found.train)),
        by_tool=dict(Counter(map(_tool_of, found.train)).most_common()),
        no_call=sum(not example.is_call for example in found.train),
        skipped=found.skipped,
        right_share=right_share,
        flat_share=fmean(flat) if flat else None,
        seconds_per_step=seconds,
        advice=advise(held),
        notes=tuple(notes),
    )


def _over(time_s: float | None, seconds_per_step: float | None) -> float | None:
    return time_s / seconds_per_step if time_s and seconds_per_step else None


def _was_right(store: ReplayStore, example: Example) -> bool | None:
    """Say whether the reply that was served earns the reward; None where none was."""
    if example.interaction is None or isinstance(example.target, Verify):  # which runs the calls
        return None
    try:
        turns = store.interaction(example.interaction).turns
    except UnknownRecord:
        return None
    if example.turn >= len(turns):
        return None
    text = turns[example.turn].completion.text
    return score(text, tools=example.tools, target=example.target).value > 0


def _flat_share(right: int, count: int, group_size: int) -> float:
    """Return p^G + (1 - p)^G, with Laplace's estimate of p: a few examples are not a certainty."""
    p = (right + 1) / (count + 2)
    return float(p**group_size + (1 - p) ** group_size)


def _tool_of(example: Example) -> str:
    named = ", ".join(sorted(called_tools(example.target)))
    return named or (ANY_TOOL if example.is_call else NO_TOOL)


def _counts(counted: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counted.items()) or "none"
