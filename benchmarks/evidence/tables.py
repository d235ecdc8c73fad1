"""What the results of many cells add up to: the figures that are asked for, and a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from benchmarks.evidence.arms import ARMS
from benchmarks.evidence.running import Result

Row = dict[str, Any]
Pair = tuple[Result, Result]
"""An arm's result in a cell, and that of "none" in the same cell."""
_GROUPS = ("call", "no_call", "well_formed", "tools", "calls")


def summarise(results: Iterable[Result]) -> dict[str, Row]:
    """Return a row for each arm, in the order of the arms: means over its cells, in percent.

    Cells in which "none" was not run are left out, for there is nothing to compare with.
    """
    found = list(results)
    start = {_cell(result): result for result in found if result["arm"] == "none"}
    by_arm: dict[str, list[Pair]] = {name: [] for name in ARMS}
    for result in found:
        if (before := start.get(_cell(result))) is not None:
            by_arm[result["arm"]].append((result, before))
    return {name: _row(pairs) for name, pairs in by_arm.items() if pairs}


def headline(rows: Mapping[str, Row], *, arm: str = "grpo") -> Row:
    """Return the figures of one arm under the names that they are asked for by."""
    row, start = rows[arm], rows["none"]
    return {
        "before_mean": row["before"],
        "after_mean": row["after"],
        "gain_points_mean": row["gain"],
        "gain_points_sd": row["gain_sd"],
        "old_skills_points": row["old_skills"],
        "no_call_points": row["no_call"],
        "groups_with_spread_at_start": start["with_spread"],
        "labels_used": row["labels"],
        "train_seconds": row["train_seconds"],
    }


def controls_promoted(rows: Mapping[str, Row]) -> int:
    """Return in how many cells the gate passed an arm that could learn nothing true."""
    return sum(row["gate"].get("pass", 0) for name, row in rows.items() if ARMS[name].is_control)


def markdown(rows: Mapping[str, Row]) -> str:
    """Write the table of all arms."""
    columns = (
        *("arm", "cells", "right before → after, %", "gain, points (sd)", "calls", "no call"),
        *("well formed", "right calls in any form", "old skills", "labels", "training, s", "gate"),
    )
    lines = [_line(columns), _line(["---"] * len(columns))]
    for name, row in rows.items():
        gate = ", ".join(f"{outcome} {n}" for outcome, n in row["gate"].items()) or "-"
        points = [f"{row[what]:+.1f}" for what in (*_GROUPS[:3], "calls", "old_skills")]
        lines.append(
            _line(
                [
                    f"{ARMS[name].what} (`{name}`)",
                    f"{row['cells']}",
                    f"{row['before']:.1f} → {row['after']:.1f}",
                    f"{row['gain']:+.1f} ({row['gain_sd']:.1f})",
                    *points,
                    f"{row['labels']:.0f}",
                    f"{row['train_seconds']:.0f}",
                    gate,
                ]
            )
        )
    return "".join(lines)


def cell_table(results: Iterable[Result]) -> str:
    """Write what every arm reached in every cell, in percent."""
    found = list(results)
    cells = sorted({_cell(result) for result in found})
    reached = {(result["arm"], _cell(result)): result["held_out"]["right"] for result in found}
    lines = [_line(["arm", *(f"{name} {seed}" for name, seed in cells)])]
    lines.append(_line(["---"] * (len(cells) + 1)))
    for arm in ARMS:
        if any((arm, cell) in reached for cell in cells):
            shown = [_shown(reached.get((arm, cell))) for cell in cells]
            lines.append(_line([f"`{arm}`", *shown]))
    return "".join(lines)


def _line(columns: Iterable[str]) -> str:
    return f"| {' | '.join(columns)} |\n"


def _row(pairs: Sequence[Pair]) -> Row:
    """Return means over cells: "before" and "after" in percent, what changed in points."""
    gains = [_changed(pair, "right") for pair in pairs]
    row: Row = {
        "cells": len(pairs),
        "before": fmean(before["held_out"]["right"] for _, before in pairs),
        "after": fmean(result["held_out"]["right"] for result, _ in pairs),
        "gain": fmean(gains),
        "gain_sd": stdev(gains) if len(gains) > 1 else 0.0,
        "old_skills": fmean(_changed(pair, "right", of="old_skills") for pair in pairs),
        "labels": fmean(result["labels"] for result, _ in pairs),
        "train_seconds": fmean(result.get("train_seconds", 0.0) for result, _ in pairs),
        "gate": dict(Counter(_gate(result) for result, _ in pairs if "gate" in result)),
    }
    row |= {name: fmean(_changed(pair, name) for pair in pairs) for name in _GROUPS}
    starts = [result["start"]["with_spread"] for result, _ in pairs if "start" in result]
    return row | ({"with_spread": fmean(starts)} if starts else {})


def _changed(pair: Pair, name: str, *, of: str = "held_out") -> float:
    result, before = pair
    return float(result[of][name] - before[of][name])


def _gate(result: Result) -> str:
    return result["gate"] or "no adapter"


def _cell(result: Result) -> tuple[str, int]:
    return result["deployment"], result["seed"]


def _shown(percent: float | None) -> str:
    return "" if percent is None else f"{percent:.1f}"
