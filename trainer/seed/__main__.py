"""`python -m trainer.seed --out DIR`: train the seed model from scratch, and measure it.

With `--proxy` in few steps, some fifteen minutes on two cores: to see whether a change of the
world, of the model or of the recipe helps, before hours are spent on it. Compare `nats` of two such
runs, and `all` where it has left 0.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

from trainer.heap import keep_freed_memory
from trainer.seed.evaluate import world_table
from trainer.seed.pretrain import PretrainConfig, pretrain

PROXY_STEPS = 800


def main() -> None:
    """Read the command line, train, and print the table as one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m trainer.seed", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="model directory to write")
    parser.add_argument("--work", type=Path, default=Path("runs/seed"), help="checkpoints")
    parser.add_argument("--steps", type=int, default=None, help=f"[{PretrainConfig().steps}]")
    parser.add_argument("--proxy", action="store_true", help=f"{PROXY_STEPS} steps only")
    parser.add_argument("--seed", type=int, default=PretrainConfig().seed)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--log-every", type=int, default=50)
    parser.add_argument("--count", type=int, default=200, help="episodes of each kind measured")
    options = parser.parse_args()
    steps = options.steps or (PROXY_STEPS if options.proxy else PretrainConfig().steps)
    config = replace(PretrainConfig(), steps=steps, seed=options.seed)
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    started = time.monotonic()

    def report(step: int, figures: dict[str, float]) -> None:
        if step % options.log_every == 0 or step == 1:
            told = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
            seconds = time.monotonic() - started
            sys.stdout.write(f"step {step}  {told}  {seconds:.0f} s\n")
            sys.stdout.flush()

    directory = pretrain(config, options.work, export_dir=options.out, report=report)
    table = json.dumps(world_table(directory, count=options.count))
    rounded = json.loads(table, parse_float=lambda text: round(float(text), 3))
    sys.stdout.write(json.dumps(rounded, indent=2) + "\n")


if __name__ == "__main__":
    main()
