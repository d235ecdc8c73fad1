"""Does it learn its deployment? One retrain on honest traffic, beside its rivals and controls.

python benchmarks/learning.py --json                         # no learning and GRPO: the claim
python benchmarks/learning.py --arms all --jobs 2 --table benchmarks/results/learning.md
python benchmarks/learning.py --quick                        # every part in small; learns nothing

For each deployment and seed, simulated people talk to a real `tooln1-agent serve`; what it logged,
at most 1,000 interactions of which 300 got a label, is what each arm learns from in a process of
its own. Then the same 200 held-out requests and 201 fresh episodes of the seed model's world are
asked, greedily. Results lie in --work; what is there is not run again.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.evidence.arms import ARMS, FIRST, Arm
from benchmarks.evidence.cells import QUICK, Cell, Settings
from benchmarks.evidence.claiming import claim
from benchmarks.evidence.running import Result, label_count, read_result, run_arm
from benchmarks.evidence.tables import cell_table, controls_promoted, headline, markdown, summarise
from examples.deployments import DEPLOYMENTS


def make_traffic(cell: Cell, arm: Arm) -> None:
    """Make the traffic that an arm learns from."""
    cell.traffic(label_count(cell, arm))


def run_all(cells: Sequence[Cell], arms: Sequence[Arm], *, jobs: int) -> int:
    """Run every arm in every cell, arm by arm; return how many failed, each told when it does."""
    failed = 0
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, max_tasks_per_child=1) as pool:
        for arm in arms:
            missing = [cell for cell in cells if read_result(cell, arm.name) is None]
            if arm.trains or arm.retrieved:
                silent = [c for c in missing if not c.has_traffic(label_count(c, arm))]
                failed += _wave(pool, make_traffic, arm, silent)
            failed += _wave(pool, run_arm, arm, missing)
    return failed


def _wave(
    pool: ProcessPoolExecutor, work: Callable[[Cell, Arm], object], arm: Arm, cells: Sequence[Cell]
) -> int:
    """Do one thing in every cell; return in how many it failed."""
    began = time.monotonic()
    futures: list[Future[object]] = [pool.submit(work, cell, arm) for cell in cells]
    failed = 0
    for cell, future in zip(cells, futures, strict=True):
        error = future.exception()
        failed += error is not None
        said = f"failed: {type(error).__name__}: {error}" if error else "done"
        seconds = time.monotonic() - began
        _say(f"{arm.name} {work.__name__} {cell.path.name}: {said} ({seconds:.0f} s)")
    return failed


def known_results(cells: Sequence[Cell]) -> Iterator[Result]:
    """Yield every result of these cells, of whichever run."""
    for cell in cells:
        for name in ARMS:
            if (result := read_result(cell, name)) is not None:
                yield result


def read_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--deployments", nargs="+", choices=DEPLOYMENTS, default=list(DEPLOYMENTS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument(
        "--arms", nargs="+", choices=[*ARMS, "all"], default=list(FIRST), help="or all; none runs"
    )
    parser.add_argument("--work", type=Path, help="where results are kept [learning-work]")
    parser.add_argument("--jobs", type=int, default=1, help="cells at once, each in processes")
    parser.add_argument("--threads", type=int, default=2, help="of torch, in each process")
    parser.add_argument("--model", default=Settings().model, help="'seed' or a model directory")
    parser.add_argument("--time-limit", default=None, help=f"of training [{Settings().time_limit}]")
    parser.add_argument("--table", type=Path, help="write the table there, in Markdown")
    parser.add_argument("--quick", action="store_true", help="every part in small")
    parser.add_argument("--json", action="store_true", help="print one JSON object only")
    return parser.parse_args(arguments)


def cells_of(options: argparse.Namespace) -> list[Cell]:
    """Return the cells that the command line names, in a work directory of their settings."""
    settings = replace(QUICK if options.quick else Settings(), model=options.model)
    if options.time_limit is not None:
        settings = replace(settings, time_limit=options.time_limit)
    work = options.work or Path("learning-work-quick" if options.quick else "learning-work")
    claim(work, settings, model=settings.model)
    return [
        Cell(name, seed, work, settings, options.threads)
        for seed in options.seeds
        for name in options.deployments
    ]


def main() -> int:
    """Run what is missing, print what is there; 1 where an arm failed."""
    options = read_arguments()
    wanted = {*options.arms, "none"}
    arms = [arm for arm in ARMS.values() if "all" in wanted or arm.name in wanted]
    cells = cells_of(options)
    failed = run_all(cells, arms, jobs=options.jobs)
    results = list(known_results(cells))
    rows = summarise(results)
    report = f"{markdown(rows)}\nRight on held-out requests, %:\n\n{cell_table(results)}"
    if options.table is not None:
        options.table.parent.mkdir(parents=True, exist_ok=True)
        options.table.write_text(report, encoding="utf-8")
    if not options.json:
        sys.stdout.write(report)
    found: dict[str, Any] = headline(rows) if "grpo" in rows else {}
    found |= {"cells": len(cells), "failed": failed, "arms": rows}
    found["controls_promoted"] = controls_promoted(rows)
    rounded = json.loads(json.dumps(found), parse_float=lambda text: round(float(text), 2))
    sys.stdout.write(json.dumps(rounded) + "\n")
    return 1 if failed else 0


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
