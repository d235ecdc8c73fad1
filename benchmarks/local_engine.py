"""What the embedded engine samples in a second: ours beside transformers' and vLLM's ways.

python benchmarks/local_engine.py [--quick] [--vllm-python PATH] [--json]

All sides run the same work in turn, in an order that rotates, on the same weights; the engine has
no HTTP in front of it (vLLM has), and every repeat has prompts of its own. A figure is the median
over repeats; a ratio is to our time, the median of those within a repeat, with the least and the
greatest. In the summary `generate` is compared by processor time, which bears that others compute
on the machine, and vLLM, whose processes are its own, by the clock. The models are the seed model
and a random one of 52 million weights. A side that was asked for and does not run fails all.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import product
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a script, it sees its own folder alone

import torch
from transformers import AutoModelForCausalLM, Qwen3ForCausalLM
from transformers.utils import logging

from benchmarks.peers.sampling import ContinuousBatching, PaddedGenerate, Run, Side, Vllm, Work
from tooln1_agent.engines.local.adapted import AdaptedModel
from tooln1_agent.engines.local.decoder import Sample
from tooln1_agent.engines.local.generate import generate
from tooln1_agent.engines.local.model import load_base
from tooln1_agent.engines.local.requests import Limits, Request
from tooln1_agent.engines.local.scheduler import Scheduler
from tooln1_agent.engines.resolve import SEED_DIR
from tooln1_agent.errors import EngineError
from tooln1_agent.messages import Sampling

_VOCABULARY = 3000
_KEYS = ("group8_p600", "group8_p2000", "mixed32")


class _Ear:
    """Notes when a request's first token comes."""

    def __init__(self) -> None:
        self.first = 0.0

    def on_token(self, token: int) -> bool:
        self.first = self.first or time.perf_counter()
        return False

    def on_end(self, sample: Sample) -> None:
        pass

    def on_error(self, error: EngineError) -> None:
        raise SystemExit(f"the embedded engine failed: {error}")


class Ours:
    """The scheduler of the embedded engine, fresh for each work; groups go the trainer's way."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def __call__(self, work: Work) -> Run:
        return self._group(work) if work.group > 1 else self._requests(work)

    def _group(self, work: Work) -> Run:
        began = time.perf_counter()
        sampling = Sampling(temperature=1.0, max_tokens=work.tokens[0])
        generator = torch.Generator().manual_seed(0)
        generate(
            self._model,
            work.prompts,
            n=work.group,
            sampling=sampling,
            end_ids=(),
            generator=generator,
        )
        return Run(time.perf_counter() - began, [])

    def _requests(self, work: Work) -> Run:
        limits = Limits(queue_limit=1000, token_budget=1_000_000)
        scheduler = Scheduler(AdaptedModel(self._model), end_ids=(), limits=limits, seed=0)
        ears = [_Ear() for _ in work.prompts]
        began = time.perf_counter()
        for prompt, tokens, ear in zip(work.prompts, work.tokens, ears, strict=True):
            sampling = Sampling(temperature=1.0, max_tokens=tokens)
            scheduler.submit(Request(tuple(prompt), sampling, None, ear))
        while scheduler.has_work:
            scheduler.tick()
        return Run(time.perf_counter() - began, [ear.first - began for ear in ears])


def works(*, tokens: int, is_quick: bool, seed: int = 0) -> dict[str, Work]:
    """Return what is measured, by name; prompts are random and have no beginning in common."""
    rng = random.Random(seed)

    def prompt(length: int) -> list[int]:
        return [rng.randrange(1, _VOCABULARY) for _ in range(length)]

    found = {
        f"group8_p{length}": Work([prompt(length)], [tokens], group=8) for length in (600, 2000)
    }
    sizes = [200, 1500, 400, 800] * 8
    lengths = [tokens // 4 + number * 7 * tokens // 124 for number in range(32)]
    random.Random(0).shuffle(lengths)  # from a quarter to twice as many
    found["mixed32"] = Work([prompt(size) for size in sizes], lengths)
    common = prompt(1000)
    alike = [common[: 2 * size // 3] + prompt(size - 2 * size // 3) for size in sizes]
    found["mixed32_alike"] = Work(alike, lengths)  # as requests with the same tools are
    if not is_quick:
        for clients in (1, 8, 32):
            for size in (200, 1500):
                name = f"clients{clients}_p{size}"
                found[name] = Work([prompt(size) for _ in range(clients)], [tokens] * clients)
    return found


def measure(sides: dict[str, Side], repeats: Sequence[Work]) -> dict[str, Any]:
    """Run all sides in turn; return tokens a second, time to first token, and ratios to ours."""
    runs: dict[str, list[Run]] = {name: [] for name in sides}
    sampled = repeats[0].sampled
    for repeat, work in enumerate(repeats):
        names = list(sides)
        for name in names[repeat % len(names) :] + names[: repeat % len(names)]:
            began = time.process_time()
            run = sides[name](work)
            spent = None if name == "vllm" else time.process_time() - began
            runs[name].append(run._replace(processor_s=spent))
    figures: dict[str, Any] = {}
    for name, found in runs.items():
        pairs = list(zip(found, runs["ours"], strict=True))
        first = [statistics.median(run.first_s) for run in found if run.first_s]
        figures[name] = {
            "tokens_per_s": _round(sampled / statistics.median(run.seconds for run in found)),
            "first_token_s": _round(statistics.median(first)) if first else None,
            "seconds_over_ours": _spread([run.seconds / ours.seconds for run, ours in pairs]),
            "processor_over_ours": _spread(
                [a.processor_s / b.processor_s for a, b in pairs if a.processor_s and b.processor_s]
            ),
        }
    return figures


def _spread(ratios: list[float]) -> list[float]:
    """Return median, least and greatest; nothing of nothing."""
    return [_round(f(ratios)) for f in (statistics.median, min, max)] if ratios else []


@contextmanager
def sides_of(
    directory: Path, *, dtype: str, threads: int, vllm_python: Path | None
) -> Iterator[dict[str, Side]]:
    """Yield the sides on one model, with so many threads each."""
    torch.set_num_threads(threads)
    os.environ["OMP_NUM_THREADS"] = str(threads)
    with ExitStack() as stack:
        model = load_base(directory, dtype=dtype)  # type: ignore[arg-type]
        paged = AutoModelForCausalLM.from_pretrained(directory, dtype=model.dtype).eval()
        sides: dict[str, Side] = {
            "ours": Ours(model),
            "generate": PaddedGenerate(model),
            "continuous": ContinuousBatching(paged),
        }
        if vllm_python is not None:
            log_file = Path(tempfile.gettempdir()) / "local_engine_vllm.log"
            vllm = Vllm(directory, python=vllm_python, dtype=dtype, log_file=log_file)
            stack.callback(vllm.close)
            sides["vllm"] = vllm
        warm = Work([[5, 6, 7]] * 2, [4, 4])
        for side in sides.values():
            side(warm)
        yield sides


def random_model(directory: Path) -> Path:
    """Write a random model of 52 million weights, with the seed model's tokenizer."""
    sizes = {"hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 16}
    heads = {"num_attention_heads": 8, "num_key_value_heads": 4, "layer_types": None}
    config = AutoModelForCausalLM.from_pretrained(SEED_DIR).config
    changed = type(config)(**{**config.to_dict(), **sizes, **heads})
    torch.manual_seed(0)
    Qwen3ForCausalLM(changed).save_pretrained(directory)
    (directory / "tokenizer.json").write_bytes((SEED_DIR / "tokenizer.json").read_bytes())
    return directory


def measure_cell(
    directory: Path, names: list[str] | None, *, options: argparse.Namespace, **setting: Any
) -> dict[str, Any]:
    """Measure all works on one model in one setting."""
    wanted = [
        works(tokens=options.tokens, is_quick=options.quick, seed=repeat)
        for repeat in range(options.repeats)
    ]
    found = {}
    with sides_of(directory, vllm_python=options.vllm_python, **setting) as sides:
        for name in names or wanted[0]:
            found[name] = measure(sides, [repeat[name] for repeat in wanted])
            if not options.json:
                print(directory.name, setting, name, json.dumps(found[name]), flush=True)
    return found


def summary(found: dict[str, Any]) -> dict[str, float | None]:
    """Return how many times as fast as `generate` we are, and how many times vLLM is as we are."""
    figures: dict[str, float | None] = dict.fromkeys((*_KEYS, "vllm_mixed32"))
    for key in _KEYS:
        if key in found:
            figures[key] = found[key]["generate"]["processor_over_ours"][0]
    if "vllm" in found.get("mixed32", ()):
        figures["vllm_mixed32"] = _round(1 / found["mixed32"]["vllm"]["seconds_over_ours"][0])
    return figures


def _round(value: float) -> float:
    return float(f"{value:.3g}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vllm-python", type=Path, help="interpreter that has vLLM")
    parser.add_argument("--models", nargs="+", choices=("seed", "random"), default=["seed"])
    parser.add_argument("--threads", nargs="+", type=int, default=[1])
    parser.add_argument("--dtypes", nargs="+", choices=("float32", "bfloat16"), default=["float32"])
    parser.add_argument("--works", nargs="+", help="by name; all if not given")
    parser.add_argument("--tokens", type=int, default=64, help="sampled for each prompt")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="fewer works, one repeat, 16 tokens")
    parser.add_argument("--json", action="store_true", help="print one JSON object only")
    options = parser.parse_args()
    if options.quick:
        options.tokens, options.repeats = 16, 1
    return options


def main() -> None:
    """Measure every model in every setting; the summary is of the first."""
    options = _options()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    cells = []
    with tempfile.TemporaryDirectory() as scratch:
        for model, dtype, threads in product(options.models, options.dtypes, options.threads):
            directory = SEED_DIR if model == "seed" else random_model(Path(scratch))
            setting = {"dtype": dtype, "threads": threads}
            found = measure_cell(directory, options.works, options=options, **setting)
            cells.append({"model": model, **setting, "works": found})
    print(json.dumps({**summary(cells[0]["works"]), "cells": cells}))


if __name__ == "__main__":
    main()
