"""`python -m examples.measure --model DIR`: what the seed model gets right untrained.

Prints one JSON object: greedy exact accuracy on fresh episodes of the training world and on each
deployment, and how many groups of eight samples show both right and wrong, which is what GRPO
learns from.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch

import tooln1_agent
from examples.deployments import DEPLOYMENTS
from trainer.seed.evaluate import Seed, accuracy, deployment_probes, spread, world_probes


def main() -> None:
    """Measure a model directory, by default the shipped one."""
    parser = argparse.ArgumentParser(description=__doc__)
    shipped = Path(tooln1_agent.__file__).parent / "seed_model"
    parser.add_argument("--model", type=Path, default=shipped, help="model directory")
    parser.add_argument("--count", type=int, default=200, help="probes of each kind")
    parser.add_argument("--groups", type=int, default=24, help="groups of eight samples")
    options = parser.parse_args()
    torch.manual_seed(0)
    seed, started = Seed(options.model), time.monotonic()
    figures: dict[str, object] = {}
    for disclosure in ("hidden", "described", "instructed"):
        probes = world_probes(1, options.count, disclosure=disclosure)
        figures[f"world, conventions {disclosure}"] = _rounded(accuracy(seed, probes))
    for name, place in DEPLOYMENTS.items():
        probes = deployment_probes(place.deployment, 1, options.count)
        figures[name] = _rounded(accuracy(seed, probes))
        groups = spread(seed, probes[: options.groups])
        figures[f"{name}, eight samples each"] = _rounded(groups)
    figures["seconds"] = round(time.monotonic() - started)
    print(json.dumps(figures, indent=2))


def _rounded(table: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 3) for name, value in table.items()}


if __name__ == "__main__":
    main()
