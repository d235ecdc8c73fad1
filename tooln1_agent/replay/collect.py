"""The examples of a store, one for each prompt, and a count of the turns that gave none."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from tooln1_agent.effective import Rejection, joined, without, without_rejected
from tooln1_agent.examples import STRENGTH, Example, Source, Target, Verify, called_tools
from tooln1_agent.replay.labelled_turns import Made, Skipped


@dataclass(frozen=True, slots=True)
class ExampleSet:
    """The examples of a store, oldest label first, and what was left out."""

    examples: tuple[Example, ...]
    skipped: dict[Skipped, int] = field(default_factory=dict)
    """How many labelled turns gave no example, by reason."""

    def judgeable(self, rules: Collection[str] | None) -> ExampleSet:
        """Return the set without the `Verify` examples that cannot be judged.

        Args:
            rules: names of the rules that are known; None where there is no agent to run calls.
        """
        skipped = Counter[Skipped](self.skipped)
        kept = []
        for example in self.examples:
            if not isinstance(example.target, Verify) or example.target.rule in (rules or ()):
                kept.append(example)
            else:
                skipped["verify_without_agent" if rules is None else "unknown_rule"] += 1
        return ExampleSet(tuple(kept), dict(skipped))

    @property
    def by_source(self) -> dict[Source, int]:
        """Return how many examples rest on each kind of label."""
        return dict(Counter(example.source for example in self.examples))

    @property
    def by_tool(self) -> dict[str, int]:
        """Return in how many examples each tool is to be called."""
        return dict(Counter(name for e in self.examples for name in called_tools(e.target)))

    @property
    def calls(self) -> int:
        """Return how many examples ask for a call."""
        return sum(example.is_call for example in self.examples)

    @property
    def no_calls(self) -> int:
        """Return how many examples ask for no call."""
        return len(self.examples) - self.calls


def collect_examples(made: Iterable[Made]) -> ExampleSet:
    """Gather the examples of labelled turns, one for each prompt.

    What was rejected of a prompt is rejected of every turn with that prompt, and what was accepted
    of one is another way beside what was accepted of another.
    """
    turns = list(made)
    rejections: defaultdict[str, list[Rejection]] = defaultdict(list)
    for turn in turns:
        if turn.rejection is not None:
            rejections[turn.prompt].append(turn.rejection)
    kept: dict[str, Example] = {}
    skipped: Counter[Skipped] = Counter()
    for turn in turns:
        example = turn.example
        if turn.skipped is None and example is not None:
            example = _without_rejected(example, rejections[example.id])
        if turn.skipped is not None or example is None:
            skipped[turn.skipped or "rejected_elsewhere"] += 1
        elif (other := kept.get(example.id)) is None:
            kept[example.id] = example
        else:
            kept[example.id], reason = _merged(other, example)
            skipped[reason] += 1
    examples = sorted(kept.values(), key=lambda e: (e.created_at, e.id))
    return ExampleSet(tuple(examples), dict(skipped))


def _without_rejected(example: Example, rejections: Iterable[Rejection]) -> Example | None:
    target: Target | None = example.target
    for rejection in rejections:
        if target is not None:
            target = without_rejected(
                target, example.source, example.created_at, rejection=rejection
            )
    return None if target is None else example.model_copy(update={"target": target})


def _merged(one: Example, other: Example) -> tuple[Example, Skipped]:
    """Return the one example of two with the same prompt, and what became of the second."""
    chosen = max(one, other, key=_weight)
    if one.target == other.target:
        return chosen, "duplicate"
    if _both_hold(one, other):
        target = joined(one.target, other.target)
        return chosen.model_copy(update={"target": target}), "joined"
    return chosen, "conflict"


def contradict(one: Made, other: Made) -> bool:
    """Whether two turns with the same prompt cannot both be right about it."""
    if one.example is not None and other.example is not None:
        differ = one.example.target != other.example.target
        return differ and not _both_hold(one.example, other.example)
    for example, rejection in ((one.example, other.rejection), (other.example, one.rejection)):
        if example is not None and rejection is not None:
            return without(example.target, rejection.way) != example.target
    return False


def _both_hold(one: Example, other: Example) -> bool:
    """Whether both are calls that somebody accepted, which may be two ways to the same end."""
    return one.source == other.source == "feedback" and one.is_call and other.is_call


def _weight(example: Example) -> tuple[int, object]:
    return STRENGTH[example.source], example.created_at
