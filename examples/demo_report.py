"""The report: one HTML file without outside references, so that it opens anywhere."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from examples.demo_plots import accuracy_plot, timeline_plot, training_plot
from examples.demo_scores import GROUPS, Tally, Verdict, changes, tally
from tooln1_agent.gate_report import GateReport

STYLE = """
:root { color-scheme: light; --ink: #1e293b; --soft: #64748b; --line: #e2e8f0; --brand: #0f766e; }
body { font: 15px/1.55 system-ui, sans-serif; color: var(--ink); background: #fff;
       max-width: 60rem; margin: 2.5rem auto 5rem; padding: 0 1.25rem; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; } h2 { font-size: 1.1rem; margin: 2.5rem 0 .5rem; }
p.lead, .soft { color: var(--soft); margin-top: 0; }
.cards { display: flex; flex-wrap: wrap; gap: .75rem; margin: 1.5rem 0; }
.card { flex: 1 1 9rem; border: 1px solid var(--line); border-radius: .6rem; padding: .7rem .9rem; }
.card b { display: block; font-size: 1.45rem; font-weight: 600; }
.card span { color: var(--soft); font-size: .85rem; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
th, td { text-align: left; padding: .35rem .6rem; border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 500; } td { font-variant-numeric: tabular-nums; }
svg { width: 100%; height: auto; } pre, code { font: 13px/1.5 ui-monospace, monospace; }
pre { background: #f8fafc; border: 1px solid var(--line); border-radius: .5rem; padding: .8rem;
      overflow-x: auto; white-space: pre-wrap; overflow-wrap: anywhere; }
.outcome { border-left: 4px solid var(--brand); padding: .2rem 0 .2rem .9rem; }
.outcome.no { border-color: #d97706; } ins { text-decoration: none; color: var(--brand); }
"""


@dataclass(frozen=True, slots=True)
class Findings:
    """All that the report shows."""

    title: str
    before: Sequence[Verdict]
    after: Sequence[Verdict] | None
    """None where no adapter was promoted."""
    outcome: str
    """Why nothing was promoted, in words; empty where something was."""
    gate: GateReport | None
    """None where training ended without an adapter."""
    metrics: Sequence[Mapping[str, Any]]
    labels: Mapping[str, int]
    points: Sequence[tuple[float, float, str | None]]
    phases: Sequence[tuple[float, str]]
    cards: Mapping[str, str]
    commands: Sequence[str]
    """How to look further."""


def write_report(path: Path, findings: Findings) -> None:
    """Write the report, whole or not at all."""
    parts = [
        f"<h1>{_text(findings.title)}</h1>",
        '<p class="lead">serve → log → label → train → gate → swap, as it ran on this machine</p>',
        _cards(findings.cards),
        _outcome(findings),
        _section("Accuracy on fresh requests", _accuracy(findings)),
        _section("What the labels said", _pairs(findings.labels, "source", "labels")),
        _section("Training", training_plot(findings.metrics) if findings.metrics else _no_steps()),
        _section("The gate", _gate(findings.gate)),
        _section("The server all the while", timeline_plot(findings.points, findings.phases)),
        _section("Some replies, before and after", _replies(findings)),
        _section("Look further", f"<pre>{_text(chr(10).join(findings.commands))}</pre>"),
    ]
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{_text(findings.title)}'
        f"</title><style>{STYLE}</style><body>{''.join(parts)}</body></html>\n"
    )
    unfinished = path.with_suffix(".tmp")
    unfinished.write_text(page, encoding="utf-8")
    unfinished.replace(path)


def _text(value: object) -> str:
    return html.escape(str(value))


def _section(title: str, body: str) -> str:
    return f"<h2>{_text(title)}</h2>{body}"


def _cards(cards: Mapping[str, str]) -> str:
    shown = (
        f'<div class="card"><b>{_text(value)}</b><span>{_text(name)}</span></div>'
        for name, value in cards.items()
    )
    return f'<div class="cards">{"".join(shown)}</div>'


def _outcome(findings: Findings) -> str:
    if findings.outcome:
        return f'<p class="outcome no">{_text(findings.outcome)}</p>'
    return '<p class="outcome">The server took the new adapter up while traffic went on.</p>'


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    top = "".join(f"<th>{_text(cell)}</th>" for cell in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><tr>{top}</tr>{body}</table>"


def _pairs(counts: Mapping[str, int], name: str, value: str) -> str:
    return _table((name, value), list(counts.items()))


def _accuracy(findings: Findings) -> str:
    before = {group: tally(findings.before, group) for group in GROUPS}
    after = None
    if findings.after is not None:
        after = {group: tally(findings.after, group) for group in GROUPS}
    rows = [(g, before[g], after[g] if after else "no adapter was promoted") for g in GROUPS]
    note = ""
    if findings.after is not None:
        gained, lost = changes(findings.before, findings.after)
        note = f'<p class="soft">Of the same requests {gained} became right and {lost} wrong.</p>'
    return accuracy_plot(before, after) + _table(("requests", "before", "after"), rows) + note


def _no_steps() -> str:
    return '<p class="soft">No optimizer step was taken.</p>'


def _gate(gate: GateReport | None) -> str:
    if gate is None:
        return '<p class="soft">There was no candidate to judge.</p>'
    reasons = "".join(f"<li>{_text(reason)}</li>" for reason in gate.reasons)
    parts = (gate.overall, gate.call, gate.no_call, gate.format, *gate.tools)
    rows = [
        (
            part.name,
            Tally(part.live_right, part.n),
            Tally(part.candidate_right, part.n),
            part.wins,
            part.losses,
        )
        for part in parts
        if part.n
    ]
    judged = f"p = {gate.p_value:.2g}, held against {gate.alpha:.2g}"
    return (
        f"<p><b>{_text(gate.outcome)}</b> <span class='soft'>{judged}</span></p><ul>{reasons}</ul>"
        + _table(("held-out examples", "live", "candidate", "won", "lost"), rows)
    )


def _replies(findings: Findings, *, shown: int = 4) -> str:
    """Show first some requests that training changed, then others."""
    after = findings.after or findings.before
    pairs = sorted(
        zip(findings.before, after, strict=True), key=lambda pair: pair[0].ok == pair[1].ok
    )
    blocks = []
    for was, now in pairs[:shown]:
        blocks.append(
            f"<p><b>{_text(was.text)}</b></p><pre>before ({_text(was.reason)})\n{_text(was.reply)}"
            f"\n\n<ins>after ({_text(now.reason)})\n{_text(now.reply)}</ins></pre>"
        )
    return "".join(blocks)
