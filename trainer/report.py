"""What a run leaves for people: `report.md` in its directory, with its course as plots.

What it taught and why it stopped, in words; the figures of every step in eight panels; and the
worst rollouts of the last step that sampled, with the reason of each reward.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from tooln1_agent.durable import whole_lines, write_whole
from trainer.metrics import StepMetrics, read_metrics
from trainer.rollout import Group

_SHOWN = 6
_ROLLOUTS, _PLOTS, _REPORT = "rollouts.jsonl", "report.png", "report.md"


class Panel(NamedTuple):
    """One plot over the steps: a title, and its lines by name."""

    title: str
    lines: dict[str, Callable[[StepMetrics], float | None]]


PANELS = (
    Panel("mean reward of the rollouts", {
        "all": lambda s: s.reward, "call": lambda s: s.call_reward,
        "no call": lambda s: s.no_call_reward,
    }),
    Panel("accuracy on examples kept back", {"greedy": lambda s: s.validation}),
    Panel("share of groups", {
        "without spread": lambda s: s.flat_share, "all right": lambda s: s.right_share,
    }),
    Panel("divergence from the base, nats a token", {"KL": lambda s: s.kl}),
    Panel("norm of the gradient", {"before clipping": lambda s: s.grad_norm}),
    Panel("tokens of a rollout", {"mean": lambda s: s.mean_tokens}),
    Panel("tokens sampled a second", {"tokens/s": lambda s: s.tokens_per_s}),
    Panel("seconds a step", {
        "sampling": lambda s: s.sample_s, "update": lambda s: s.update_s,
        "validation": lambda s: s.validation_s or None,
    }),
)  # fmt: skip


def note_rollouts(directory: Path, step: int, groups: Sequence[Group]) -> None:
    """Keep the worst rollout of a few groups of the newest step: of those with spread first."""
    lively_first = sorted(groups, key=lambda group: not group.has_spread)[:_SHOWN]
    lines = [json.dumps(_noted(step, group), ensure_ascii=False) for group in lively_first]
    write_whole(directory / _ROLLOUTS, "".join(f"{line}\n" for line in lines))


def _noted(step: int, group: Group) -> dict[str, object]:
    asked = [message.content for message in group.example.messages if message.role == "user"]
    worst = min(group.rollouts, key=lambda rollout: rollout.reward.value)
    return {
        "step": step,
        "request": asked[-1] if asked else None,
        "reply": worst.text,
        "reward": worst.reward.value,
        "reason": worst.reward.reason,
        "group": group.rewards,
    }


def write_report(directory: Path, *, title: str, said: Sequence[str]) -> Path:
    """Write the report of a run from what lies in its directory; return its path.

    Args:
        said: what came of it, in words, a sentence a line.
    """
    steps = read_metrics(directory)
    parts = [f"# {title}", "\n".join(f"- {line}" for line in (*said, *_validated(steps)))]
    if steps:
        parts.append(_plot(steps, directory / _PLOTS))
    samples = [json.loads(line) for line in whole_lines(directory / _ROLLOUTS)]
    if samples:
        parts.append(f"## Rollouts of step {samples[0]['step']}")
        parts += [_sample(sample) for sample in samples]
    write_whole(directory / _REPORT, "\n\n".join(parts) + "\n")
    return directory / _REPORT


def _validated(steps: Sequence[StepMetrics]) -> list[str]:
    told = [step.validation for step in steps if step.validation is not None]
    if len(told) < 2:
        return []
    return [f"accuracy on the examples kept out of training: {told[0]:.3f} -> {told[-1]:.3f}"]


def _sample(sample: dict[str, object]) -> str:
    said = f"Reward {sample['reward']} ({sample['reason'] or 'no reason given'}); its group: "
    quoted = [
        f"    {name}: {json.dumps(sample[name], ensure_ascii=False)}"
        for name in ("request", "reply")
    ]
    return "\n".join([f"{said}{sample['group']}", "", *quoted])


def _plot(steps: Sequence[StepMetrics], path: Path) -> str:
    """Draw the panels; return the Markdown that shows them, or says why they are not there."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return "No plots: they need matplotlib (`pip install 'tooln1-agent[train]'`)."
    figure = Figure(figsize=(16, 6), layout="constrained")
    for axes, panel in zip(figure.subplots(2, 4).flat, PANELS, strict=True):
        for name, value in panel.lines.items():
            points = [(s.step, y) for s in steps if (y := value(s)) is not None]
            if points:
                marker = "o" if len(points) < len(steps) else None
                axes.plot(*zip(*points, strict=True), label=name, marker=marker)
        axes.set_title(panel.title, fontsize="medium")
        axes.set_xlabel("step")
        if len(panel.lines) > 1 and axes.lines:
            axes.legend(fontsize="small")
    figure.savefig(path, dpi=100)
    return f"![the course of the run]({path.name})"
