"""What a run tells while it goes: a JSON line a step, TensorBoard, and a display for people."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from tooln1_agent.durable import whole_lines, write_whole
from tooln1_agent.errors import ConfigError

_SHOWN_STEPS = 12
_COLUMNS = (
    "step", "reward", "call", "no call", "validation", "flat", "KL", "tokens/s", "length", "s/step",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class StepMetrics:
    """One step. Means are over all rollouts that were sampled; those of rewards, and what share is
    right, leave out prompts that were chosen for the spread they had (`refill_with`)."""

    step: int
    reward: float | None
    """None where nothing was sampled, as the step learned from gold calls."""
    call_reward: float | None
    """Mean reward on examples that need a call; None where the step had none."""
    no_call_reward: float | None
    flat_share: float
    """Share of sampled groups without spread."""
    right_share: float
    """Share of sampled groups in which every rollout was right."""
    groups: int
    """Groups sampled; of these, `trained` had spread and were learned from."""
    trained: int
    truncated_share: float
    mean_tokens: float
    """Mean length of a rollout."""
    prompt_tokens: float
    """Mean length of a prompt."""
    loss: float
    kl: float
    """Mean divergence from the base model per trained token, in nats; 0 where beta is 0."""
    grad_norm: float
    clipped_share: float
    ratio_gap: float
    tokens_per_s: float
    """Tokens sampled per second of sampling."""
    sample_s: float
    update_s: float
    trained_s: float
    """Seconds of training since the run began."""
    validation: float | None = None
    """Share of the examples kept back that a greedy reply got right; None where not asked."""
    validation_s: float = 0.0
    logged: int = 0
    """Groups that a logged reply joined."""
    logged_weight: float | None = None
    shown: int = 0
    """Groups, all wrong, that were shown what their label asks for (`show_gold`)."""
    tokens_per_pass: int = 0
    """Padded tokens that a pass was allowed: halved after memory had run out."""


class Metrics:
    """Writes each step to `metrics.jsonl`, TensorBoard and the console."""

    def __init__(self, directory: Path, *, after_step: int = 0, console: Console) -> None:
        """Go on after a step: what was written of later ones is dropped."""
        self._path = directory / "metrics.jsonl"
        kept = [ln for ln in whole_lines(self._path) if json.loads(ln)["step"] <= after_step]
        write_whole(self._path, "".join(f"{line}\n" for line in kept))
        self._file = self._path.open("a", encoding="utf-8")
        self._board = _board(directory / "tensorboard", after_step)
        self._console = console
        self._rows: deque[StepMetrics] = deque(maxlen=_SHOWN_STEPS)
        self._live = Live(console=console, refresh_per_second=4) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()
        self._file.close()
        self._board.close()

    def add(self, step: StepMetrics) -> None:
        """Write one step everywhere."""
        values = asdict(step)
        self._file.write(json.dumps(values) + "\n")
        self._file.flush()
        for name, value in values.items():
            if name != "step" and value is not None:
                self._board.add_scalar(f"train/{name}", value, step.step)
        self._board.flush()
        self._rows.append(step)
        if self._live is not None:
            self._live.update(_table(self._rows))
        else:
            self._console.print(_line(step), highlight=False, soft_wrap=True)


def read_metrics(directory: Path) -> list[StepMetrics]:
    """Read the steps of a run that were written so far."""
    names = {field.name for field in fields(StepMetrics)}
    steps = [json.loads(line) for line in whole_lines(directory / "metrics.jsonl")]
    return [StepMetrics(**{n: v for n, v in s.items() if n in names}) for s in steps]


def _board(directory: Path, after_step: int) -> Any:
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ImportError as error:
        raise ConfigError(
            f"writing metrics needs {error.name!r}; install it with "
            "`pip install 'tooln1-agent[train]'`"
        ) from error
    return SummaryWriter(str(directory), purge_step=after_step + 1)


def _line(step: StepMetrics) -> str:
    checked = "" if step.validation is None else f"  validation {step.validation:.3f}"
    return (
        f"step {step.step:>4}  reward {_share(step.reward)}{checked}  loss {step.loss:.3f}  "
        f"flat groups {step.flat_share:.0%}  KL {step.kl:.4f}  "
        f"{step.tokens_per_s:,.0f} tokens/s  {step.mean_tokens:.0f} tokens each  "
        f"sampling {step.sample_s:.1f} s, update {step.update_s:.1f} s"
    )


def _table(steps: deque[StepMetrics]) -> Table:
    table = Table(title="The last steps", title_justify="left", expand=False)
    for name in _COLUMNS:
        table.add_column(name, justify="right")
    for step in steps:
        table.add_row(
            str(step.step),
            _share(step.reward),
            _share(step.call_reward),
            _share(step.no_call_reward),
            _share(step.validation),
            f"{step.flat_share:.0%}",
            f"{step.kl:.4f}",
            f"{step.tokens_per_s:,.0f}",
            f"{step.mean_tokens:.0f}",
            f"{step.sample_s + step.update_s:.1f}",
        )
    return table


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
