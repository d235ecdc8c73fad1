"""What a GRPO step costs: ours beside TRL's GRPOTrainer and beside whole rows of our own.

python benchmarks/grpo_step.py [--quick] [--learn] [--json]

The bound is how many times fewer tokens a shared prompt computes than whole rows. Both compute as
many logits, so with a large vocabulary less of it can be reached; whole rows get our output layer.
All three work on the same random model (4 layers, hidden 128), prompts, completions and loss, in
float32 on one thread, in turn in one process. A figure is the median, over rounds, of the ratio of
processor times within a round; memory is how far an update makes the resident set grow, in a
process of its own. The peer's settings are in `peers/trl.py`; its optimizer step is not counted,
ours is.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a script, it sees its own folder alone

import torch
from torch import Tensor
from transformers import TrainerCallback

from benchmarks.peers.device import peak_mib, reset_peak_mib, seconds
from benchmarks.peers.trl import make_peer
from benchmarks.peers.work import Shape, Work, make_work, rewarded
from benchmarks.time_to_accuracy import measure as learning
from trainer.prefix import Logprobs
from trainer.rollout import sample_groups
from trainer.update import update
from trainer.vocabulary import token_logprobs


def whole_rows(
    model: Any, prompts: Any, completions: Any, *, temperature: float, form: str
) -> Logprobs:
    """The yardstick: each completion with its own prompt, all of one length, nothing padded."""
    rows = [[*p, *c] for p, group in zip(prompts, completions, strict=True) for c in group]
    causal = model.get_base_model()
    ids, start = torch.tensor(rows, device=model.device), len(prompts[0])
    hidden = causal.base_model(input_ids=ids, use_cache=False).last_hidden_state[:, start - 1 : -1]
    values: Tensor = token_logprobs(
        hidden.flatten(0, 1),
        ids[:, start:].flatten(),
        weight=causal.get_output_embeddings().weight,
        temperature=temperature,
    )
    shape = (len(rows), ids.shape[1] - start)
    return Logprobs(values.view(shape), torch.ones(shape, device=model.device))


def our_update(work: Work) -> float:
    """Take one update; return its seconds."""
    began = seconds()
    update(work.policy, work.optimizer, groups=work.groups, config=work.config)
    return seconds() - began


def naive_update(work: Work) -> float:
    """The same update from whole rows."""
    with patch("trainer.pass_loss.completion_logprobs", whole_rows):
        return our_update(work)


class Each(TrainerCallback):
    """Runs something of ours before and after each step of the peer."""

    def __init__(self, before: Callable[[], object], after: Callable[[], object]) -> None:
        self._before, self._after = before, after

    def on_step_begin(self, *args: Any, **options: Any) -> None:
        self._before()

    def on_step_end(self, *args: Any, **options: Any) -> None:
        self._after()


def run_peer(work: Work, rounds: int, each: Each, *, samples: bool = False, **settings: Any) -> Any:
    """Run TRL for so many steps, and ours beside each; return its trainer.

    Args:
        settings: of TRL, over those of `peers.trl`.
    """
    with tempfile.TemporaryDirectory() as out:
        peer = make_peer(
            work.model_dir, work.groups, work.config,
            out=Path(out), samples=samples, max_steps=rounds, num_train_epochs=rounds, **settings,
        )  # fmt: skip
        peer.add_callback(each)
        peer.train()
    return peer


def compare_update(work: Work, shape: Shape, rounds: int, **settings: Any) -> dict[str, float]:
    """Time updates on the same rollouts: TRL's, ours and whole rows, in turn."""
    ours: list[float] = []
    naive: list[float] = []

    def after() -> None:
        ours.append(our_update(work))
        naive.append(naive_update(work))

    theirs = run_peer(work, rounds + 1, Each(lambda: None, after), **settings).update_s
    share = _ratio(naive, ours) / shape.bound
    return {
        "trl_over_ours": _ratio(theirs, ours),
        "naive_over_ours": _ratio(naive, ours),
        "bound": shape.bound,
        "share_of_bound": share,
        "ours_s": statistics.median(ours[1:]),
        "naive_s": statistics.median(naive[1:]),
        "trl_s": statistics.median(theirs[1:]),
    }


def compare_step(work: Work, rounds: int) -> dict[str, float]:
    """Time whole steps, sampling and update, with every second group flat."""
    sample_s: list[float] = []
    update_s: list[float] = []
    examples = [group.example for group in work.groups]
    generator = torch.Generator().manual_seed(2)

    def after() -> None:
        began = seconds()
        sampled = sample_groups(work.policy, examples, config=work.config, generator=generator)
        sample_s.append(seconds() - began)
        groups = [rewarded(group, flat=n % 2 == 1) for n, group in enumerate(sampled)]
        update_s.append(our_update(work._replace(groups=groups)))

    peer = run_peer(work, rounds + 1, Each(lambda: None, after), samples=True)
    total = [a + b for a, b in zip(sample_s, update_s, strict=True)]
    theirs = [a + b for a, b in zip(peer.prepare_s, peer.update_s, strict=True)]
    return {
        "trl_over_ours": _ratio(theirs, total),
        "sampling": _ratio(peer.prepare_s, sample_s),
        "update": _ratio(peer.update_s, update_s),
        "our_share_of_sampling": _ratio(sample_s, total),
        "trl_share_of_sampling": _ratio(peer.prepare_s, theirs),
    }


def _ratio(above: list[float], below: list[float]) -> float:
    """Return the median ratio within a round; the first round warms up."""
    return statistics.median(a / b for a, b in zip(above[1:], below[1:], strict=True))


def growth_mib(side: str, path: Path, shape: Shape) -> float:
    """Return how far one update makes the resident set grow, measured in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_growth, (side, path, shape))


def _growth(side: str, path: Path, shape: Shape) -> float:
    torch.set_num_threads(1)
    return update_growth_mib(make_work(path, shape), side)


def update_growth_mib(work: Work, side: str, **settings: Any) -> float:
    """Return how much more memory than before is in use at the height of an update."""
    before, peaks = [0.0], [0.0]

    def begin() -> None:
        before[0] = reset_peak_mib()

    def end() -> None:
        peaks[0] = peak_mib()

    if side == "trl":
        run_peer(work, 1, Each(begin, end), **settings)
    else:
        begin()
        our_update(work)
        end()
    return peaks[0] - before[0]


def measure(*, quick: bool) -> dict[str, Any]:
    """Measure everything; print what is done meanwhile to the standard error."""
    rounds = 2 if quick else 7
    shapes = {
        "update_p600_c64_g8": Shape(600),
        "update_p600_c64_g8_v16k": Shape(600, vocabulary=16384),
        "update_p2000_c64_g8": Shape(2000),
        "update_4_prompts_alike": Shape(600, prompts=4, alike=500),
    }
    found: dict[str, Any] = {"rounds": rounds, "threads": 1}
    with tempfile.TemporaryDirectory() as folder:
        dirs = {shape.vocabulary: Path(folder) / str(shape.vocabulary) for shape in shapes.values()}
        for name, shape in shapes.items():
            sys.stderr.write(f"{name}\n")
            work = make_work(dirs[shape.vocabulary], shape)
            found[name] = compare_update(work, shape, rounds)
        sys.stderr.write("step_half_flat, peak_memory\n")
        work = make_work(dirs[2048], Shape(600, prompts=2), half_flat=True)
        found["step_half_flat"] = compare_step(work, max(1, rounds // 2))
        ours, theirs = (growth_mib(side, dirs[2048], Shape(600)) for side in ("ours", "trl"))
    found["peak_memory"] = {"ours_mib": ours, "trl_mib": theirs, "ours_over_trl": ours / theirs}
    found["share_of_bound"] = {name: found[name].pop("share_of_bound") for name in shapes}
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two rounds: to try it out")
    parser.add_argument("--json", action="store_true", help="print one JSON object only")
    parser.add_argument(
        "--learn", action="store_true", help="time_to_accuracy too, which takes half an hour"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = measure(quick=options.quick)
    learned = learning(seed=1, minutes=14.0) if options.learn else None
    found["time_to_accuracy"] = learned and learned["trl_over_ours"]
    if not options.json:
        sys.stdout.write("ratios are TRL's or whole rows' processor time over ours\n")
    rounded = json.loads(json.dumps(found), parse_float=lambda text: round(float(text), 3))
    sys.stdout.write(json.dumps(rounded) + "\n")


if __name__ == "__main__":
    main()
