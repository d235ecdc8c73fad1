"""The plot by round: how much is right, for each arm, while the deployment changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.evidence.arms import ARMS
from examples.demo_plots import ACCENT, BASE, INK, LEARNED, STYLE

Rounds = Sequence[Mapping[str, float]]
_COLOURS = {"none": BASE, "grpo": LEARNED, "sft": ACCENT, "retrieval": INK}
_OTHERS = ("#7c3aed", "#be123c", "#0369a1")


def write_plot(path: Path, rows: Mapping[str, Rounds], *, changes_in: int) -> None:
    """Draw what `rounds.summarise` returned as an SVG file."""
    others = iter(_OTHERS)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.0, 3.6), layout="constrained")
        axes = figure.subplots()
        for arm, rounds in rows.items():
            _draw(axes, rounds, label=ARMS[arm].what, colour=_COLOURS.get(arm) or next(others))
        axes.axvline(changes_in - 1, color="#cbd5e1", lw=1, zorder=0)
        axes.annotate(
            "the deployment changes", (changes_in - 1, 2), (4, 0),
            textcoords="offset points", color="#64748b", fontsize=8,
        )  # fmt: skip
        axes.set(xlabel="rounds of traffic, labels, training and gate", ylim=(0, 102))
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.yaxis.set_major_formatter(lambda y, _: f"{y:.0f} %")
        axes.set_title("Right replies on held-out requests")
        axes.legend(loc="lower left", bbox_to_anchor=(1.0, 0.0), frameon=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})


def _draw(axes: Axes, rounds: Rounds, *, label: str, colour: str) -> None:
    """Draw one arm: a round begins where the one before ended, unless the deployment changed."""
    points = [p for r in rounds for p in ((r["round"] - 1, r["begin"]), (r["round"], r["end"]))]
    axes.plot(*zip(*points, strict=True), color=colour, lw=1.8, label=label)
    ends = [(r["round"], r["end"], r["end_sd"]) for r in rounds]
    x, y, spread = zip(*ends, strict=True)
    axes.errorbar(x, y, yerr=spread, fmt="o", ms=4, color=colour, lw=1, alpha=0.6)
