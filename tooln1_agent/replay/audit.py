"""What a person looks at before trusting labels: which disagree, and which have expired."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from tool_registry.tool import ToolSpec
from tooln1_agent.errors import LabelRefused
from tooln1_agent.examples import LabelEvent
from tooln1_agent.replay.collect import contradict
from tooln1_agent.replay.labelled_turns import Made, changed_tools


@dataclass(frozen=True, slots=True)
class Audited:
    """A labelled turn, and what there is to say about its labels."""

    made: Made
    disagree: bool
    """Whether its labels contradict each other: accepted and rejected, or two targets."""
    rivals: tuple[Made, ...]
    """Other turns with the same prompt that cannot be right if this one is."""
    changed: tuple[str, ...]
    """Tools that its target calls, or may call, which are gone or not the same now."""

    @property
    def is_conflict(self) -> bool:
        """Whether somebody has to decide who is right."""
        return self.disagree or bool(self.rivals)


def audit(made: Iterable[Made], *, tools_now: Sequence[ToolSpec] | None = None) -> list[Audited]:
    """Return every labelled turn with what is wrong with it, in their order."""
    turns = list(made)
    by_prompt: defaultdict[str, list[Made]] = defaultdict(list)
    for turn in turns:
        by_prompt[turn.prompt].append(turn)
    return [
        Audited(
            made=turn,
            disagree=_disagree(turn.events),
            rivals=tuple(o for o in by_prompt[turn.prompt] if contradict(turn, o)),
            changed=() if turn.example is None else changed_tools(turn.example, tools_now),
        )
        for turn in turns
    ]


def _disagree(events: Sequence[LabelEvent]) -> bool:
    verdicts = {event.verdict for event in events}
    targets = [event.target for event in events if event.target is not None]
    return {"accept", "reject"} <= verdicts or any(target != targets[0] for target in targets)


def renewal(made: Made, tools_now: Sequence[ToolSpec], *, author: str, now: datetime) -> LabelEvent:
    """Return the label by which a person vouches for an expired target as tools are now.

    Raises:
        LabelRefused: there is no target, nothing has expired, or a tool is gone.
    """
    where = f"turn {made.turn} of interaction {made.interaction!r}"
    if made.example is None:
        raise LabelRefused(f"{where} gives no example ({made.skipped}), so nothing can be renewed")
    changed = changed_tools(made.example, tools_now)
    if not changed:
        raise LabelRefused(f"{where} has not expired: the tools that it calls are the same")
    current = {spec.name: spec for spec in tools_now}
    if gone := [name for name in changed if name not in current]:
        raise LabelRefused(
            f"{where} calls {gone[0]!r}, which the agent has no more; give a correction with "
            "other calls"
        )
    offered = [spec.name for spec in made.example.tools if spec.name in current]
    return LabelEvent(
        interaction=made.interaction,
        turn=made.turn,
        verdict="target",
        target=made.example.target,
        source="correction",
        author=author,
        evidence=f"renewed: {', '.join(changed)} changed",
        renewed=tuple(current[name] for name in offered),
        created_at=now,
    )
