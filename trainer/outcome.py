"""How a run ended, as data and in words."""

from __future__ import annotations

from dataclasses import dataclass

from tooln1_agent.adapters import Adapter
from tooln1_agent.gate import GateReport
from trainer.checkpoint import Progress
from trainer.config import GrpoConfig


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run that learned something."""

    run: str
    """Its name."""
    adapter: Adapter
    stopped: str
    """Why training ended."""
    progress: Progress
    gate: GateReport | None
    """None where it was not asked."""
    promoted: bool

    def lines(self) -> list[str]:
        """Say it in words."""
        done = self.progress
        trained = f"trained: {done.updates} updates in {done.step} steps, {done.trained_s:.0f} s"
        if done.first_reward is not None and done.last_reward is not None:
            rewards = f"{done.first_reward:.3f} -> {done.last_reward:.3f}"
            trained += f"; mean reward of the rollouts {rewards}"
        said = [
            trained,
            f"stopped because: {self.stopped}",
            f"adapter: {self.adapter.version}",
        ]
        if self.gate is None:
            return [*said, "gate: not asked (--no-gate), so nothing was promoted"]
        live = f"live now: {self.adapter.version}"
        return [*said, *self.gate.lines(), live if self.promoted else _not_promoted(self.gate)]


def _not_promoted(gate: GateReport) -> str:
    if gate.outcome == "pass":
        return "not promoted, as asked (--no-promote); `tooln1-agent adapters` can do it"
    return "not promoted: what is live stays live"


def nothing_learned(progress: Progress, config: GrpoConfig) -> str:
    """Say why a run without any update taught nothing, and what may help."""
    count = progress.all_right + progress.all_wrong
    if not progress.all_wrong:
        why = "every group was all right: the model does these requests already, nothing to learn"
    elif not progress.all_right:
        why = (
            "every group was all wrong: no rollout found the right calls, so there was nothing to "
            "learn from; a larger model, or training on the gold calls first, may help"
        )
    else:
        why = (
            f"every group was all right ({progress.all_right}) or all wrong "
            f"({progress.all_wrong}): nothing to learn"
        )
    return f"{why} ({count} groups of {config.group_size}). No adapter was written."
