"""`tooln1-agent retrain` as a process of its own, and what came of it."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from examples.demo_config import fast_precision
from examples.demo_processes import COMMAND, tail
from tooln1_agent.adapters import Adapter, AdapterStore
from tooln1_agent.gate_report import GateReport
from trainer.metrics import read_metrics
from trainer.run import known_runs

_NOTHING_LEARNED, _DIVERGED = 3, 4
"""Exit statuses that are outcomes, not failures."""


class ArmFailed(Exception):
    """A command did not do what it must; the message says which, and shows the end of its log."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What one run came to."""

    adapter: Adapter | None
    """None where nothing was learned, or the training diverged."""
    gate: GateReport | None
    seconds: float
    steps: int
    stopped: str

    def as_json(self) -> dict[str, Any]:
        """Return the figures."""
        return {
            "train_seconds": self.seconds,
            "steps": self.steps,
            "stopped": self.stopped,
            "gate": None if self.gate is None else self.gate.outcome,
            "gate_reasons": [] if self.gate is None else list(self.gate.reasons),
        }


def retrain(home: Path, flags: Sequence[str], *, threads: int) -> Trained:
    """Train on `home`/replay.db into `home`/adapters, and promote what passes the gate there.

    Raises:
        ArmFailed: the command failed.
    """
    out, log = home / "adapters", home / "retrain.log"
    places = ["--store", str(home / "replay.db"), "--out", str(out)]
    speed = ["--threads", str(threads), *fast_precision()]
    known = len(AdapterStore(out).list()) if out.exists() else 0
    with log.open("wb") as output:
        command = [COMMAND, "retrain", *places, *speed, *flags]
        done = subprocess.run(command, stdout=output, stderr=output, check=False)
    if done.returncode not in (0, _NOTHING_LEARNED, _DIVERGED):
        raise ArmFailed(f"retrain in {str(home)!r} ended with {done.returncode}\n{tail(log)}")
    run = known_runs(out / "runs")[-1]
    steps = read_metrics(run.path)
    made = AdapterStore(out).list()[known:]
    adapter = made[-1] if made else None
    return Trained(
        adapter,
        None if adapter is None else _report(adapter),
        steps[-1].trained_s if steps else 0.0,
        len(steps),
        run.manifest.stopped or tail(log, lines=1),
    )


def _report(adapter: Adapter) -> GateReport:
    return GateReport.model_validate_json((adapter.path / "gate.json").read_bytes())
