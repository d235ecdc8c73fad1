"""`python -m trainer.seed --out DIR`: train the seed model from scratch."""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import torch

from trainer.seed.pretrain import PretrainConfig, pretrain


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(prog="python -m trainer.seed", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="model directory to write")
    parser.add_argument("--work", type=Path, default=Path("runs/seed"), help="checkpoints")
    parser.add_argument("--steps", type=int, default=PretrainConfig().steps)
    parser.add_argument("--seed", type=int, default=PretrainConfig().seed)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--log-every", type=int, default=50)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    config = replace(PretrainConfig(), steps=options.steps, seed=options.seed)
    started = time.monotonic()

    def report(step: int, figures: dict[str, float]) -> None:
        if step % options.log_every == 0 or step == 1:
            told = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
            print(f"step {step}  {told}  {time.monotonic() - started:.0f} s", flush=True)  # noqa: T201

    pretrain(config, options.work, export_dir=options.out, report=report)


if __name__ == "__main__":
    main()
