"""Five rounds of deploy, log, label, retrain and gate; in the third the deployment changes.

python benchmarks/rounds.py --json --plot docs/rounds.svg
python benchmarks/rounds.py --quick                          # two small rounds; learns nothing

In round three every other tool has another name, one tool is added, and days are written another
way. Each arm has a server, a store and adapters of its own. Rounds lie in --work; what is there is
not run again.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from benchmarks.evidence.arms import ARMS
from benchmarks.evidence.claiming import claim
from benchmarks.evidence.rounds_plot import write_plot
from benchmarks.evidence.running import Result
from benchmarks.evidence.turning import QUICK, Course, RoundSettings
from examples.deployments import DEPLOYMENTS

ARM_NAMES = ("none", "grpo", "sft", "retrieval")


def run_all(courses: Sequence[Course], *, jobs: int) -> int:
    """Run every course, `jobs` at once; return how many failed, each told when it does."""
    failed = 0
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, max_tasks_per_child=1) as pool:
        futures = [pool.submit(course.run) for course in courses]
        for course, future in zip(courses, futures, strict=True):
            error = future.exception()
            failed += error is not None
            said = f"failed: {type(error).__name__}: {error}" if error else "done"
            sys.stderr.write(f"{course.arm.name} {course.name}-{course.seed}: {said}\n")
    return failed


def summarise(results: Sequence[Result]) -> dict[str, list[dict[str, float]]]:
    """Return, for each arm and round, the share right when it began and when it ended.

    In percent, means over deployments and seeds with the spread of the end.
    """
    found: dict[str, list[dict[str, float]]] = {}
    for arm in dict.fromkeys(result["arm"] for result in results):
        of_arm = [result for result in results if result["arm"] == arm]
        found[arm] = [
            _round(number, [result for result in of_arm if result["round"] == number])
            for number in sorted({result["round"] for result in of_arm})
        ]
    return found


def _round(number: int, results: Sequence[Result]) -> dict[str, float]:
    ends = [result["end"]["right"] for result in results]
    return {
        "round": number,
        "begin": fmean(result["begin"]["right"] for result in results),
        "end": fmean(ends),
        "end_sd": stdev(ends) if len(ends) > 1 else 0.0,
        "labels": fmean(result["labels"] for result in results),
        "promoted": fmean(result.get("gate") == "pass" for result in results),
        "courses": len(results),
    }


def read_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--deployments", nargs="+", choices=DEPLOYMENTS, default=list(DEPLOYMENTS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARM_NAMES))
    parser.add_argument("--work", type=Path, help="where rounds are kept [learning-work-rounds]")
    parser.add_argument("--jobs", type=int, default=1, help="courses at once")
    parser.add_argument("--threads", type=int, default=2, help="of torch, in each process")
    parser.add_argument("--model", default=RoundSettings().model)
    parser.add_argument("--plot", type=Path, help="write the plot there (SVG)")
    parser.add_argument("--quick", action="store_true", help="every part in small")
    parser.add_argument("--json", action="store_true", help="print one JSON object only")
    return parser.parse_args(arguments)


def courses_of(options: argparse.Namespace) -> list[Course]:
    """Return the courses that the command line names, in a work directory of their settings."""
    settings = replace(QUICK if options.quick else RoundSettings(), model=options.model)
    work = options.work or Path(f"learning-work-rounds{'-quick' if options.quick else ''}")
    claim(work, settings, model=settings.model)
    return [
        Course(name, seed, ARMS[arm], work, settings, options.threads)
        for seed in options.seeds
        for name in options.deployments
        for arm in options.arms
    ]


def main() -> int:
    """Run what is missing, print what is there; 1 where a course failed."""
    options = read_arguments()
    courses = courses_of(options)
    failed = run_all(courses, jobs=options.jobs)
    rows = summarise([result for course in courses for result in course.known()])
    if options.plot is not None:
        write_plot(options.plot, rows, changes_in=courses[0].settings.changes_in)
    if not options.json:
        for arm, rounds in rows.items():
            shown = ", ".join(f"{r['begin']:.1f} → {r['end']:.1f}" for r in rounds)
            sys.stdout.write(f"{arm}: {shown}\n")
    found: dict[str, Any] = {"courses": len(courses), "failed": failed, "arms": rows}
    rounded = json.loads(json.dumps(found), parse_float=lambda text: round(float(text), 2))
    sys.stdout.write(json.dumps(rounded) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
