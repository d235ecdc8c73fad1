"""What a GRPO update costs on one GPU, at the shapes of Qwen2.5 0.5B and 1.5B; weights are random.

python benchmarks/gpu_step.py [--model 0.5b] [--prefix-form flex] [--quick] [--json] [--save]
python benchmarks/gpu_step.py --device cpu --tiny      # tries the script out; measures nothing

As `grpo_step.py`: TRL's GRPOTrainer, ours and whole rows of ours do the same update, in turn in one
process, and a ratio is the median over rounds. Products are in bfloat16 and weights in float32, for
all three; `--prefix-form` says how ours shares the prompt. Whole steps are not measured, as
sampling is vLLM's.

- tokens_per_s: prompt and completion tokens of the rollouts over the time, as if each rollout had a
  prompt of its own, whoever computes it only once.
- mfu, model FLOPs utilisation: the operations that the update needs, over time and peak. With W
  weights in the layers' matrices, A = layers x heads x head size, hidden size H and vocabulary V, a
  token costs 2W forward and 2W backward, since what does not learn needs no gradient; a pair of a
  token and one that it sees costs 4A and 8A; a completion token costs 2VH and 2VH in the output
  layer. Needed are P + GC tokens. LoRA's own weights, norms and the optimizer count nothing.
- busy: the same for what was computed, G(P + C) tokens by TRL and whole rows.

Peaks are those of the data sheets for dense products in bfloat16; `--peak-tflops` names another.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a script, it sees its own folder alone

import torch
from transformers import PretrainedConfig, Qwen2Config

from benchmarks.grpo_step import compare_update, update_growth_mib
from benchmarks.peers.work import GROUP, Shape, make_model, make_work
from trainer.prefix import PrefixForm

RESULTS = Path(__file__).parent / "results"
PEAK_TFLOPS = {"H200": 989.0, "H100 PCIe": 756.0, "H100 NVL": 835.0, "H100": 989.0, "A100": 312.0}
"""By what the device's name contains; the first that fits."""
WORKS = {"update_p600_c64_g8": Shape(600), "update_p2000_c64_g8": Shape(2000)}
TINY_WORKS = {"update_p200_c8_g8": Shape(200, 8)}
"""A prompt has about 140 tokens before anything is asked."""


def qwen(hidden: int, *, layers: int, heads: int, inner: int, vocabulary: int) -> Qwen2Config:
    """Return a shape of the Qwen2.5 family: two key-value heads, a tied output layer."""
    return Qwen2Config(
        vocab_size=vocabulary, hidden_size=hidden, intermediate_size=inner,
        num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=2,
        tie_word_embeddings=True, max_position_embeddings=32768,
        bos_token_id=None, eos_token_id=None, pad_token_id=None,
    )  # fmt: skip


MODELS = {
    "0.5b": qwen(896, layers=24, heads=14, inner=4864, vocabulary=151936),
    "1.5b": qwen(1536, layers=28, heads=12, inner=8960, vocabulary=151936),
}
TINY_MODELS = {"tiny": qwen(64, layers=2, heads=4, inner=128, vocabulary=2048)}


def update_flops(model: PretrainedConfig, shape: Shape, *, shared: bool) -> float:
    """Return the operations of an update, multiplications and additions.

    Args:
        shared: the prompt is computed once, else with every completion.
    """
    prompts, prompt, completion = 1 if shared else GROUP, shape.prompt, shape.completion
    tokens = prompts * prompt + GROUP * completion
    pairs = prompts * prompt * (prompt + 1) / 2
    pairs += GROUP * (completion * prompt + completion * (completion + 1) / 2)
    attention = model.num_hidden_layers * model.hidden_size
    output = 4 * GROUP * completion * model.vocab_size * model.hidden_size
    return 4 * layer_weights(model) * tokens + 12 * attention * pairs + output


def layer_weights(model: PretrainedConfig) -> int:
    """Return how many weights the matrices of the layers have."""
    hidden = model.hidden_size
    key_value = hidden * model.num_key_value_heads // model.num_attention_heads
    layer = 2 * hidden * hidden + 2 * hidden * key_value + 3 * hidden * model.intermediate_size
    return int(model.num_hidden_layers * layer)


def measure(
    models: dict[str, Qwen2Config],
    works: dict[str, Shape],
    *,
    rounds: int,
    peak: float | None,
    form: str,
) -> dict[str, Any]:
    """Measure every update with every model."""
    found: dict[str, Any] = {}
    for name, model in models.items():
        with tempfile.TemporaryDirectory() as folder:
            make_model(Path(folder), model, vocabulary=2048)
            found[name] = {"share_of_bound": {}, "peak_memory": {}}
            for work, shape in works.items():
                sys.stderr.write(f"{name}: {work}\n")
                timed, memory = _one(Path(folder), shape, rounds, form=form)
                found[name]["share_of_bound"][work] = timed.pop("share_of_bound")
                found[name]["peak_memory"][work] = memory
                found[name][work] = timed | _rates(model, shape, timed, peak)
    return found


def _one(
    path: Path, shape: Shape, rounds: int, *, form: str
) -> tuple[dict[str, float], dict[str, float]]:
    """Time one update, and measure its memory."""
    work = make_work(path, shape, precision="bfloat16", prefix_form=form)
    settings = {"bf16": True, "use_cpu": not torch.cuda.is_available()}
    timed = compare_update(work, shape, rounds, **settings)
    ours, theirs = (update_growth_mib(work, side, **settings) for side in ("ours", "trl"))
    return timed, {"ours_mib": ours, "trl_mib": theirs}


def _rates(
    model: PretrainedConfig, shape: Shape, timed: dict[str, float], peak: float | None
) -> dict[str, Any]:
    """Return tokens per second, and what share of the peak, of each side.

    Args:
        peak: of the device, in 10^12 operations per second; None if it is not known.
    """
    needed = update_flops(model, shape, shared=True)
    computed = {side: update_flops(model, shape, shared=side == "ours") for side in _SIDES}
    took = {side: timed[f"{side}_s"] for side in _SIDES}
    tokens = GROUP * (shape.prompt + shape.completion)
    rates: dict[str, Any] = {"tokens_per_s": {s: tokens / took[s] for s in _SIDES}}
    if peak is not None:
        full = peak * 1e12
        rates["mfu"] = {side: needed / took[side] / full for side in _SIDES}
        rates["busy"] = {side: computed[side] / took[side] / full for side in _SIDES}
    return rates


_SIDES = ("ours", "naive", "trl")


def main() -> None:
    """Measure, print, and save if asked."""
    options = _options()
    hardware = torch.cuda.get_device_name() if options.device == "cuda" else "cpu"
    known = next((peak for name, peak in PEAK_TFLOPS.items() if name in hardware), None)
    found = {
        "date": datetime.now(UTC).date().isoformat(),
        "hardware": hardware,
        "torch": torch.__version__,
        "peak_tflops": options.peak_tflops or known,
        "prefix_form": options.prefix_form,
        "rounds": 2 if options.quick or options.tiny else 7,
    }
    found |= measure(
        TINY_MODELS if options.tiny else {name: MODELS[name] for name in options.model or MODELS},
        TINY_WORKS if options.tiny else WORKS,
        rounds=found["rounds"],
        peak=found["peak_tflops"],
        form=options.prefix_form,
    )
    text = json.dumps(json.loads(json.dumps(found), parse_float=lambda t: float(f"{float(t):.4g}")))
    if options.save:
        RESULTS.mkdir(exist_ok=True)
        kind = re.sub(r"\W+", "-", hardware).lower()
        name = f"gpu_step-{found['date']}-{kind}-{options.prefix_form}.json"
        (RESULTS / name).write_text(text + "\n")
    if not options.json:
        sys.stdout.write("ratios are TRL's or whole rows' time over ours\n")
    sys.stdout.write(text + "\n")


def _options() -> argparse.Namespace:
    """Read the command line; refuse a device that is not there, or too slow."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", action="append", choices=list(MODELS), help="default: all")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--tiny", action="store_true", help="small shapes: to try the script out")
    forms = get_args(PrefixForm)
    parser.add_argument("--prefix-form", choices=forms, default="cached", help="default: cached")
    parser.add_argument("--quick", action="store_true", help="two rounds in place of seven")
    parser.add_argument("--peak-tflops", type=float, help="of the GPU, dense, in bfloat16")
    parser.add_argument("--json", action="store_true", help="print one JSON object only")
    parser.add_argument("--save", action="store_true", help=f"write it into {RESULTS.name}/ too")
    options = parser.parse_args()
    if options.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the trainer takes a GPU wherever there is one
        if not options.tiny:
            parser.error("these shapes take hours on a CPU; add --tiny to try the script out")
    elif not torch.cuda.is_available():
        parser.error("there is no CUDA device here; --device cpu --tiny tries the script out")
    return options


if __name__ == "__main__":
    main()
