"""What parsing and scoring cost: ours beside a plain loop of regular expression, json and compare.

python benchmarks/parse_reward.py [--data FILE.jsonl.gz] [--json]

The data are benchmark rows (BFCL's, say) with `bfcl_possible_answers`, the first acceptable value
of each argument making the reply; without a file, replies of the seed world. Both sides judge the
same texts in the same process, in turn; a figure is the median over rounds. The plain loop names
no faults, checks no grammar beyond the tags, and compares dictionaries: it is the least that a
reward can do.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tool_registry.calls import ToolCall
from tool_registry.tool import ToolSpec
from tooln1_agent.datasets import read_benchmark
from tooln1_agent.examples import Exact, Possible
from tooln1_agent.prompt import calls_text
from tooln1_agent.reward import score
from trainer.seed.world import draw_episode

_BLOCK = re.compile(r"<think>(.+?)</think>\s*<tool_call>(.*)</tool_call>\s*$", re.DOTALL)


class Case(NamedTuple):
    """A reply with what it should call, in the form each side wants."""

    text: str
    tools: tuple[ToolSpec, ...]
    target: Exact
    gold: list[dict[str, Any]]


def read_cases(path: Path) -> list[Case]:
    """Turn the rows with acceptable values into replies that are right."""
    cases = []
    for row in read_benchmark(path):
        if not isinstance(row.target, Possible):
            continue
        calls = tuple(
            ToolCall(
                name=call.name,
                arguments={k: v[0] for k, v in call.arguments.items() if v and v[0] != ""},
            )
            for call in row.target.calls
        )
        cases.append(make_case(calls, row.tools))
    return cases


def drawn_cases(count: int) -> list[Case]:
    """Draw replies that the seed world asks for."""
    rng = random.Random(1)
    episodes = (draw_episode(rng, situation="call") for _ in range(count))
    return [make_case(episode.calls, episode.tools) for episode in episodes]


def make_case(calls: tuple[ToolCall, ...], tools: tuple[ToolSpec, ...]) -> Case:
    """Write the reply that calls just that."""
    text = f"<think>I call what fits.</think>\n<tool_call>{calls_text(calls)}</tool_call>"
    gold = [{"name": call.name, "arguments": call.arguments} for call in calls]
    return Case(text, tools, Exact(alternatives=(calls,)), gold)


def plain(case: Case) -> float:
    """Score as a hand-written reward would."""
    found = _BLOCK.match(case.text)
    if found is None:
        return 0.0
    try:
        calls = json.loads(found[2])
    except ValueError:
        return 0.0
    return float(calls == case.gold)


def ours(case: Case) -> float:
    """Score as the product does."""
    return score(case.text, tools=case.tools, target=case.target).value


def seconds(function: Callable[[Case], float], cases: list[Case]) -> float:
    """Time one pass; every case must be right, or the figure would be of something else."""
    began = time.process_time()
    right = sum(function(case) for case in cases)
    spent = time.process_time() - began
    if right != len(cases):
        raise SystemExit(f"{function.__name__}: {right:.0f} of {len(cases)} replies were right")
    return spent


def measure(cases: list[Case], *, rounds: int) -> dict[str, float]:
    """Time both sides in turn."""
    spent: dict[str, list[float]] = {"plain": [], "ours": []}
    for _ in range(rounds):
        spent["plain"].append(seconds(plain, cases))
        spent["ours"].append(seconds(ours, cases))
    ratios = [o / p for o, p in zip(spent["ours"], spent["plain"], strict=True)]
    micro = {
        f"{side}_us": 1e6 * statistics.median(all_spent) / len(cases)
        for side, all_spent in spent.items()
    }
    return {
        "replies": len(cases),
        "rounds": rounds,
        **micro,
        "ratio": statistics.median(ratios),
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="benchmark rows (JSON Lines)")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true", help="print one JSON object only")
    options = parser.parse_args()
    cases = read_cases(options.data) if options.data else drawn_cases(1000)
    figures = measure(cases, rounds=options.rounds)
    if not options.json:
        sys.stdout.write("parse and score, microseconds of processor time for a reply\n")
    sys.stdout.write(json.dumps({k: round(v, 2) for k, v in figures.items()}) + "\n")


if __name__ == "__main__":
    main()
