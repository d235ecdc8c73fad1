"""The report's plots, each as the text of an SVG that needs nothing from elsewhere."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from examples.demo_scores import GROUPS, Tally

BASE, LEARNED, ACCENT, INK = "#9aa5b1", "#0f766e", "#d97706", "#334155"
STYLE: dict[str, Any] = {
    "axes.edgecolor": "#cbd5e1",
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "font.family": "sans-serif",
    "font.size": 9,
    "grid.color": "#eef2f6",
    "svg.fonttype": "none",
    "svg.hashsalt": "tooln1",
    "xtick.color": "#64748b",
    "ytick.color": "#64748b",
}


def accuracy_plot(before: Mapping[str, Tally], after: Mapping[str, Tally] | None) -> str:
    """Draw the shares of right replies with their intervals, before and, if any, after."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 2.5), layout="constrained")
        axes = figure.subplots()
        axes.set_yticks(range(len(GROUPS)), [f"{g} (n={before[g].n})" for g in GROUPS])
        _intervals(axes, before, offset=-0.14, colour=BASE, label="before (base model)")
        if after is not None:
            _intervals(axes, after, offset=0.14, colour=LEARNED, label="after (adapter)")
        axes.set(xlim=(-0.02, 1.02), ylim=(len(GROUPS) - 0.5, -0.5))
        axes.xaxis.set_major_formatter(lambda x, _: f"{x:.0%}")
        axes.set_title("Right replies on fresh requests, with 95 % intervals")
        axes.legend(loc="lower left", bbox_to_anchor=(1.0, 0.0), frameon=False)
        return _svg(figure)


def _intervals(
    axes: Axes, tallies: Mapping[str, Tally], *, offset: float, colour: str, label: str
) -> None:
    for row, group in enumerate(GROUPS):
        share, (low, high) = tallies[group].share, tallies[group].interval
        axes.plot([low, high], [row + offset] * 2, color=colour, lw=3, alpha=0.45)
        axes.plot(share, row + offset, "o", color=colour, label=label if row == 0 else None)


def training_plot(metrics: Sequence[Mapping[str, Any]]) -> str:
    """Draw reward, share of groups without spread, KL and speed over the steps."""
    panels = (
        ("reward", "Mean reward of the rollouts", LEARNED),
        ("flat_share", "Groups without spread", ACCENT),
        ("kl", "KL to the base model (nats per token)", INK),
        ("tokens_per_s", "Sampled tokens per second", BASE),
    )
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 4.4), layout="constrained")
        for axes, (key, title, colour) in zip(figure.subplots(2, 2).flat, panels, strict=True):
            steps = [m["step"] for m in metrics if key in m]
            values = [m[key] for m in metrics if key in m]
            axes.plot(steps, values, color=colour, lw=1.6, marker="o", ms=2.5)
            axes.set(title=title, xlabel="step")
            axes.set_ylim(bottom=0, top=1 if key in ("reward", "flat_share") else None)
        return _svg(figure)


def timeline_plot(
    points: Sequence[tuple[float, float, str | None]], phases: Sequence[tuple[float, str]]
) -> str:
    """Draw each request's latency over time, coloured by the version that served it.

    Args:
        points: (seconds since the start, latency in seconds, adapter version or None).
        phases: (seconds since the start, what began then).
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 2.8), layout="constrained")
        axes = figure.subplots()
        for learned, colour, label in ((False, BASE, "base model"), (True, LEARNED, "adapter")):
            shown = [(t, s) for t, s, version in points if (version is not None) == learned]
            times, latencies = zip(*shown, strict=True) if shown else ((), ())
            axes.scatter(times, latencies, s=7, color=colour, label=label, linewidths=0)
        for at, name in phases:
            axes.axvline(at, color="#cbd5e1", lw=1, zorder=0)
            axes.annotate(name, (at, 1.0), (3, 2), xycoords=("data", "axes fraction"),
                          textcoords="offset points", color="#64748b", fontsize=8)  # fmt: skip
        axes.set(xlabel="seconds since the server was ready", ylabel="latency, s", ylim=(0, None))
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
        return _svg(figure)


def _svg(figure: Figure) -> str:
    """Return the figure as an `<svg>` element that scales with the page."""
    buffer = io.StringIO()
    no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(buffer, format="svg", metadata=no_metadata)
    body = buffer.getvalue()
    return re.sub(r' (?:width|height)="[\d.]+pt"', "", body[body.index("<svg") :], count=2)
