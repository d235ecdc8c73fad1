"""What a benchmark loop found out, as a table for people and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from examples.benchmark_play import OVER_LIMIT, Played
from examples.demo_scores import Tally
from tooln1_agent.datasets import ImportReport
from tooln1_agent.gate_report import GateReport, Slice

GROUPS = ("all", "call", "no call")
Counts = dict[str, Tally]


@dataclass(slots=True)
class Results:
    """Fills up while the loop runs."""

    settings: dict[str, Any]
    base_model: str = ""
    traffic: list[Played] = field(default_factory=list)
    before: list[Played] = field(default_factory=list)
    """The held-out rows, served before training."""
    labels: ImportReport | None = None
    retrain_status: int | None = None
    """Exit status of `tooln1-agent retrain`."""
    retrain_said: str = ""
    """The last line that it printed."""
    candidate: str | None = None
    gate: GateReport | None = None
    promoted: str | None = None
    after: list[Played] = field(default_factory=list)
    """The held-out rows, served by the new adapter; empty if none went live."""
    seconds: dict[str, float] = field(default_factory=dict)

    def columns(self) -> dict[str, Counts]:
        """Return the counts by group for each column of the table that there is."""
        columns = {"traffic": counts(self.traffic), "held out, before": counts(self.before)}
        if self.gate is not None:
            columns["candidate at the gate"] = _gate_counts(self.gate, self.before)
        if self.after:
            columns["held out, after"] = counts(self.after)
        return columns

    def json(self) -> dict[str, Any]:
        """Return everything as one JSON object."""
        return {
            "settings": self.settings,
            "base_model": self.base_model,
            "right": {name: _json(column) for name, column in self.columns().items()},
            "refused": refusals([*self.traffic, *self.before]),
            "reasons": {
                "traffic": Counter(played.reason for played in self.traffic if not played.refused),
                "before": Counter(played.reason for played in self.before if not played.refused),
                "after": Counter(played.reason for played in self.after if not played.refused),
            },
            "labels": None if self.labels is None else _labels(self.labels),
            "retrain": {"status": self.retrain_status, "said": self.retrain_said},
            "candidate": self.candidate,
            "gate": None if self.gate is None else self.gate.model_dump(mode="json"),
            "promoted": self.promoted,
            "seconds": {name: round(spent, 1) for name, spent in self.seconds.items()},
        }


def counts(played: Sequence[Played]) -> Counts:
    """Count right replies by group; refused requests count as wrong."""
    groups = {
        "all": played,
        "call": [one for one in played if one.is_call],
        "no call": [one for one in played if not one.is_call],
    }
    return {name: Tally(sum(one.ok for one in part), len(part)) for name, part in groups.items()}


def refusals(played: Sequence[Played]) -> dict[str, int]:
    """Count what the server refused, by the code of the error."""
    return dict(Counter(one.refused for one in played if one.refused))


def show(console: Console, results: Results) -> None:
    """Print the table, and in words what came of it."""
    columns = results.columns()
    table = Table(title="Right replies (95 % interval)", title_justify="left")
    table.add_column("")
    for name in columns:
        table.add_column(name)
    for group in GROUPS:
        table.add_row(group, *(str(column[group]) for column in columns.values()))
    console.print(table)
    for line in _words(results):
        console.print(line, highlight=False, soft_wrap=True)


def _words(results: Results) -> list[str]:
    refused = refusals([*results.traffic, *results.before])
    limit = results.settings["context_limit"]
    lines = [
        f"refused, and counted as wrong: {refused.pop(OVER_LIMIT, 0)} requests over the context "
        f"limit of {limit} tokens" + "".join(f", {n} as {code}" for code, n in refused.items())
    ]
    if results.candidate is None:
        lines.append(f"no adapter was made; retrain said: {results.retrain_said}")
    elif results.gate is not None:
        lines += [f"gate: {results.gate.outcome}", *(f"  - {r}" for r in results.gate.reasons)]
    if results.promoted is None:
        lines.append("the model that serves is the one from before; nothing changed")
    return lines


def _gate_counts(gate: GateReport, before: Sequence[Played]) -> Counts:
    """Return the candidate's counts over all held-out rows, those that were refused among them."""
    refused = counts([played for played in before if played.refused])
    parts: dict[str, Slice] = {"all": gate.overall, "call": gate.call, "no call": gate.no_call}
    return {
        group: Tally(part.candidate_right, part.n + refused[group].n)
        for group, part in parts.items()
    }


def _json(column: Counts) -> dict[str, Any]:
    return {
        group: {"right": tally.right, "n": tally.n, "interval_95": tally.interval}
        for group, tally in column.items()
    }


def _labels(report: ImportReport) -> dict[str, Any]:
    return {
        "added": report.added,
        "unmatched": report.unmatched,
        "refused": Counter(report.refused.values()),
    }
