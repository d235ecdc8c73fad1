"""Runs one arm in one cell: a store of its own, `tooln1-agent retrain`, the questions, a file.

A result is written whole, and one that is there is not made again.
"""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

from benchmarks.evidence import coin
from benchmarks.evidence.arms import Arm
from benchmarks.evidence.cells import Cell
from benchmarks.evidence.measuring import ask, figures, held_out, old_skills, spread_at_start
from benchmarks.evidence.retrieval import with_examples
from benchmarks.evidence.stores import (
    Wrong,
    add_episodes,
    copy_store,
    first,
    judged_by,
    paid_by,
)
from benchmarks.evidence.training import ArmFailed, retrain
from tooln1_agent.adapters import Adapter
from tooln1_agent.durable import write_whole
from tooln1_agent.examples import Example
from tooln1_agent.replay.store import ReplayStore

NEIGHBOURS = 4

Result = dict[str, Any]


def result_path(cell: Cell, arm: str) -> Path:
    """Return where the result of an arm lies."""
    return cell.path / f"{arm}.json"


def read_result(cell: Cell, arm: str) -> Result | None:
    """Return the result of an arm, or None where it has not been run."""
    path = result_path(cell, arm)
    if not path.exists():
        return None
    result: Result = json.loads(path.read_bytes())
    return result


def run_arm(cell: Cell, arm: Arm) -> Result:
    """Return the result of an arm in a cell, running it if need be.

    Raises:
        ArmFailed: a command failed.
    """
    if (known := read_result(cell, arm.name)) is not None:
        return known
    began = time.monotonic()
    home = cell.path / arm.name
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    result: Result = {"deployment": cell.name, "seed": cell.seed, "arm": arm.name, "labels": 0}
    adapter = None
    if arm.trains or arm.retrieved:
        result["labels"] = _prepare(cell, arm, home / "replay.db")
    if arm.trains:
        trained = retrain(home, _flags(cell, arm), threads=cell.threads)
        adapter, result = trained.adapter, result | trained.as_json()
    result |= _measure(cell, arm, home / "replay.db", adapter)
    result["wall_s"] = time.monotonic() - began
    write_whole(result_path(cell, arm.name), json.dumps(result, indent=2))
    return result


def label_count(cell: Cell, arm: Arm) -> int:
    """Return how many labels an arm learns from, if people gave as many."""
    return round(arm.label_factor * cell.settings.labels)


def _prepare(cell: Cell, arm: Arm, store: Path) -> int:
    """Make the arm's store from the cell's traffic; return how many labels people gave in it."""
    count = label_count(cell, arm)
    change = first(count)
    if arm.coin:
        change = paid_by(coin.RULE, count=count)
    elif arm.wrong is not None:
        truth = {request.text: request for request in cell.requests(count)}
        change = Wrong(count, arm.wrong, truth, cell.seed)
    kept = copy_store(cell.traffic(count), store, change=change, most=cell.logged(count))
    if not count:
        judged_by(store, cell.rule)
    if arm.rehearses:
        add_episodes(store, seed=cell.seed, count=cell.settings.rehearsed)
    return kept


def _flags(cell: Cell, arm: Arm) -> list[str]:
    """Return what `retrain` is told; the arm's own flags come last and win."""
    settings = cell.settings
    steps, limit = _limits(cell, arm)
    flags = ["--model", settings.model, "--seed", str(cell.seed), "--steps", str(steps)]
    flags += ["--time-limit", limit, *settings.retrain_flags]
    if arm.rehearses:
        flags += ["--imported-share", str(settings.rehearsed_share)]
    if arm.coin:
        flags += ["--agent", f"{coin.__name__}:{cell.name}"]
    elif not arm.label_factor:
        flags += ["--agent", cell.app]
    return [*flags, *arm.flags]


def _limits(cell: Cell, arm: Arm) -> tuple[int, str]:
    """Return the most steps and the most time that an arm may train."""
    settings = cell.settings
    if arm.as_long_as is not None:
        other = read_result(cell, arm.as_long_as)
        if other is None:
            raise ArmFailed(f"{arm.name} trains as long as {arm.as_long_as}: run that before it")
        return settings.long_steps, f"{max(1.0, other['train_seconds']):.0f}s"
    if arm.to_convergence:
        return settings.long_steps, settings.long_time_limit
    return settings.steps, settings.time_limit


def _measure(cell: Cell, arm: Arm, store: Path, adapter: Adapter | None) -> Result:
    settings = cell.settings
    questions = held_out(cell.deployment, seed=cell.seed, count=settings.questions)
    world = old_skills(seed=cell.seed, count=settings.old_skills)
    asked = questions
    if arm.retrieved is not None:
        asked = with_examples(questions, _labelled(store), k=NEIGHBOURS, place=arm.retrieved)
    new, old = ask(settings.model, asked, world, adapter=adapter, threads=cell.threads)
    found: Result = {"held_out": figures(questions, new), "old_skills": figures(world, old)}
    if arm.name == "none":
        found["start"] = spread_at_start(
            settings.model,
            cell.deployment,
            seed=cell.seed,
            groups=settings.groups,
            threads=cell.threads,
        )
    return found


def _labelled(store: Path) -> list[Example]:
    with ReplayStore(store, create=False) as opened:
        return list(opened.examples().examples)
