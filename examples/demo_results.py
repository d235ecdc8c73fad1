"""What one run of the demo found out: gathered as it goes, checked, shown, and written down."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from examples.demo_config import DemoConfig
from examples.demo_people import Served
from examples.demo_processes import DemoError
from examples.demo_report import Findings, write_report
from examples.demo_scores import GROUPS, Verdict, changes, tally
from tooln1_agent.gate_report import GateReport
from tooln1_agent.replay.stats import StoreStats

BASE = "base"


@dataclass(slots=True)
class Results:
    """Fills up while the demo runs."""

    config: DemoConfig
    started_s: float
    """When the server was ready, on the clock of `time.time`."""
    phases: list[tuple[float, str]] = field(default_factory=list)
    """What began when, in seconds since the start."""
    served: list[Served] = field(default_factory=list)
    feedback: Counter[str] = field(default_factory=Counter)
    """How many people said what, silence among it."""
    before: list[Verdict] = field(default_factory=list)
    after: list[Verdict] | None = None
    trickle: list[Served] = field(default_factory=list)
    candidate: str | None = None
    gate: GateReport | None = None
    promoted: str | None = None
    swap_s: float | None = None
    """From the move of the pointer to the first answer of the new version."""
    stats: StoreStats | None = None
    metrics: list[dict[str, Any]] = field(default_factory=list)

    @property
    def requests(self) -> list[Served]:
        return [*self.served, *self.trickle]

    def begin(self, phase: str, *, now_s: float) -> None:
        """Note that a phase begins."""
        self.phases.append((now_s - self.started_s, phase))

    def check(self) -> None:
        """Raise DemoError if a request failed, or a version that served is not in the log."""
        failed = [one for one in self.requests if one.error]
        if failed:
            raise DemoError(
                f"{len(failed)} of {len(self.requests)} requests failed; the first: "
                f"{failed[0].error} (see {self.config.out / 'server.log'})"
            )
        logged = self.stats.by_adapter if self.stats else {}
        expected = [BASE] if self.promoted is None else [BASE, self.promoted]
        if missing := [version for version in expected if not logged.get(version)]:
            raise DemoError(f"no logged turn was served by {missing[0]!r}; logged: {logged}")

    def read_metrics(self) -> None:
        """Read what training wrote down for each step."""
        for path in sorted(self.config.adapters.glob("runs/*/metrics.jsonl")):
            rows = path.read_text(encoding="utf-8").splitlines()
            self.metrics = [json.loads(row) for row in rows]


def show_results(console: Console, results: Results) -> None:
    """Print the final table and how to look further."""
    table = Table(title="Right replies on fresh requests (95 % interval)", title_justify="left")
    for column in ("requests", "before", "after"):
        table.add_column(column)
    for group in GROUPS:
        after = "-" if results.after is None else str(tally(results.after, group))
        table.add_row(group, str(tally(results.before, group)), after)
    console.print()
    console.print(table)
    if results.after is not None:
        gained, lost = changes(results.before, results.after)
        console.print(f"Of the same requests {gained} became right and {lost} wrong.")
    else:
        console.print(f"[yellow]{no_adapter_because(results)}[/]")
    console.print("\nLook further:")
    for command in commands(results):
        console.print(f"  {command}", highlight=False, soft_wrap=True)


def no_adapter_because(results: Results) -> str:
    """Say in words why the server serves what it served before."""
    if results.gate is None:
        return "Training ended without an adapter; the server goes on with the base model."
    return (
        f"The gate said {results.gate.outcome!r}, so the server goes on with the base model: "
        f"{'; '.join(results.gate.reasons)}."
    )


def commands(results: Results) -> list[str]:
    """Return commands that look at what the run left behind."""
    config = results.config
    first = next((one.interaction for one in results.served if one.mood.speaks), "INTERACTION")
    return [
        f".venv/bin/tooln1-agent stats {config.store}",
        f".venv/bin/tooln1-agent show {config.store}",
        f".venv/bin/tooln1-agent show {config.store} {first}",
        f".venv/bin/tooln1-agent adapters list {config.adapters}",
        f"open {config.out / 'report.html'}",
    ]


def write_results(results: Results) -> None:
    """Write the report for people and the same figures for programs."""
    config = results.config
    write_report(config.out / "report.html", findings(results))
    figures = {
        "requests": len(results.requests),
        "failed": sum(bool(one.error) for one in results.requests),
        "feedback": dict(results.feedback),
        "labels": results.stats.labels_by_source if results.stats else {},
        "before": _figures(results.before),
        "after": None if results.after is None else _figures(results.after),
        "gate": None if results.gate is None else results.gate.outcome,
        "promoted": results.promoted,
        "swap_s": results.swap_s,
        "phases": results.phases,
    }
    (config.out / "results.json").write_text(json.dumps(figures, indent=2) + "\n")


def findings(results: Results) -> Findings:
    """Put together what the report shows."""
    labels = results.stats.labels_by_source if results.stats else {}
    overall = tally(results.before, "all").share, tally(results.after or (), "all").share
    cards = {
        "requests served": f"{len(results.requests)}",
        "of them failed": f"{sum(bool(one.error) for one in results.requests)}",
        "labels": f"{sum(labels.values())}",
        "optimizer steps": f"{len(results.metrics)}",
        "right before → after": f"{overall[0]:.0%} → {overall[1]:.0%}"
        if results.after is not None
        else f"{overall[0]:.0%}",
    }
    return Findings(
        title="A home office that learns from its traffic",
        before=results.before,
        after=results.after,
        outcome="" if results.after is not None else no_adapter_because(results),
        gate=results.gate,
        metrics=results.metrics,
        labels=labels,
        points=[_point(one, results.started_s) for one in results.requests],
        phases=results.phases,
        cards=cards,
        commands=commands(results),
    )


def _point(one: Served, started_s: float) -> tuple[float, float, str | None]:
    adapter = None if one.adapter in ("", BASE) else one.adapter
    return one.started_s - started_s, one.latency_s, adapter


def _figures(verdicts: Iterable[Verdict]) -> dict[str, dict[str, float]]:
    listed = list(verdicts)
    tallies = {group: tally(listed, group) for group in GROUPS}
    return {
        group: {
            "right": one.right,
            "n": one.n,
            "low": one.interval.low,
            "high": one.interval.high,
        }
        for group, one in tallies.items()
    }
