"""How long learning takes: ours beside TRL's GRPOTrainer, to the same held-out accuracy.

python benchmarks/time_to_accuracy.py [--minutes 14] [--points 10 20] [--seed 1] [--json]

Both start from the seed model and learn from the same 400 labelled requests of the home office by
the same reward, with the same LoRA rank, learning rate, group size and prompts a step, sampling by
themselves, on one thread. Ours leaves flat groups out and samples others in their place, as it does
by default; TRL has no such thing. After every third step greedy accuracy on 150 other requests is
taken, the same way for both, and its time is not counted. A figure is TRL's processor time over
ours until the accuracy had first risen by so many points. Where TRL's time was over before, its
`is_reached` is false and the ratio a lower bound; null where ours did not get there.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a script, it sees its own folder alone

import torch
from transformers import TrainerCallback

import tooln1_agent
from benchmarks.evidence.measuring import held_out, labelled
from benchmarks.peers.trl import learning_peer
from examples.deployments import DEPLOYMENTS
from tooln1_agent.codec import Codec
from tooln1_agent.engines.local.generate import Wanted, sample_rows
from tooln1_agent.examples import Example
from tooln1_agent.messages import Sampling
from tooln1_agent.reward import score
from trainer.config import GrpoConfig
from trainer.grpo import train
from trainer.learner import new_learner
from trainer.policy import load_policy
from trainer.rollout import prompt_ids

MODEL = Path(tooln1_agent.__file__).parent / "seed_model"
EVERY = 3
"""Steps between two measurements."""


@dataclass(slots=True)
class Curve:
    """Held-out accuracy over the time spent learning."""

    examples: Sequence[Example]
    codec: Codec
    minutes: float
    goal: float
    """The gain in accuracy at which the run may end."""
    points: list[tuple[float, float]] = field(default_factory=list)
    """Seconds of processor time, and the accuracy then."""
    spent_s: float = 0.0
    began: float = 0.0
    steps: int = 0

    def begin(self, model: Any) -> None:
        """Measure the model before it learns, and start the clock."""
        self.points.append((0.0, self._accuracy(model)))
        self.began = time.process_time()

    def after_step(self, model: Any) -> bool:
        """Stop the clock to measure; return whether the goal is reached or the time is over."""
        self.spent_s += time.process_time() - self.began
        self.steps += 1
        if self.steps % EVERY == 0:
            self.points.append((self.spent_s, self._accuracy(model)))
            sys.stderr.write(f"  {self.spent_s:6.0f} s  {self.points[-1][1]:.1%}\n")
        self.began = time.process_time()
        return self.spent_s > 60 * self.minutes or self.time_to(self.goal) is not None

    def time_to(self, gain: float) -> float | None:
        """Return the seconds until accuracy had first risen by so much."""
        goal = self.points[0][1] + gain
        return next((s for s, accuracy in self.points if accuracy >= goal), None)

    def _accuracy(self, model: Any) -> float:
        sampling = Sampling(temperature=0.0, max_tokens=96)
        was_training = model.training
        model.eval()
        samples = sample_rows(
            model,
            [Wanted(prompt_ids(example, self.codec), sampling) for example in self.examples],
            end_ids=self.codec.end_ids,
            generator=torch.Generator().manual_seed(0),
        )
        model.train(was_training)
        right = [
            score(self.codec.decode(sample.ids), tools=example.tools, target=example.target).value
            for example, sample in zip(self.examples, samples, strict=True)
        ]
        return sum(right) / len(right)


class _OverError(Exception):
    """The goal is reached, or the time is over."""


def run_ours(config: GrpoConfig, examples: Sequence[Example], curve: Curve) -> None:
    """Train as `tooln1-agent retrain` does."""
    learner = new_learner(load_policy(MODEL, config), examples, config)
    curve.begin(learner.policy.sampler())

    def tell(_: object) -> None:
        if curve.after_step(learner.policy.sampler()):
            raise _OverError

    with tempfile.TemporaryDirectory() as checkpoints:
        try:
            train(learner, config, checkpoints=Path(checkpoints), tell=tell)
        except _OverError:
            return


def run_theirs(config: GrpoConfig, examples: Sequence[Example], curve: Curve) -> None:
    """Train with TRL."""

    class Watch(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **options: Any) -> None:
            control.should_training_stop = curve.after_step(options["model"])

    with tempfile.TemporaryDirectory() as out:
        peer = learning_peer(
            MODEL, examples, config, out=Path(out), max_steps=10_000, num_train_epochs=10_000
        )
        peer.add_callback(Watch())
        curve.begin(peer.model)
        peer.train()


def measure(*, seed: int, minutes: float, points: Sequence[int] = (10, 20)) -> dict[str, Any]:
    """Run both, one after the other."""
    config = GrpoConfig(steps=10_000, max_tokens=96, learning_rate=3e-3, seed=seed, solved_steps=99)
    office = DEPLOYMENTS["home_office"].deployment
    training = labelled(office, seed=seed, count=400)
    questions = held_out(office, seed=seed, count=150)
    codec = Codec.load(MODEL)
    curves = {}
    for name, run in (("ours", run_ours), ("trl", run_theirs)):
        sys.stderr.write(f"{name}\n")
        curves[name] = Curve(questions, codec, minutes, max(points) / 100)
        run(config, training, curves[name])
    ratios: dict[str, dict[str, Any] | None] = {}
    for gain in points:
        ours, theirs = (curves[name].time_to(gain / 100) for name in ("ours", "trl"))
        ratios[f"plus_{gain}"] = ours and {
            "ratio": (theirs or curves["trl"].spent_s) / ours,
            "is_reached": theirs is not None,
        }
    return {
        "trl_over_ours": ratios,
        "curves": {name: curve.points for name, curve in curves.items()},
        "steps": {name: curve.steps for name, curve in curves.items()},
        "seed": seed,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=14.0, help="of learning, for each side")
    parser.add_argument("--points", type=int, nargs="+", default=[10, 20])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print one JSON object only")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = measure(seed=options.seed, minutes=options.minutes, points=options.points)
    if not options.json:
        sys.stdout.write("ratios are TRL's processor time over ours\n")
    rounded = json.loads(json.dumps(found), parse_float=lambda text: round(float(text), 3))
    sys.stdout.write(json.dumps(rounded) + "\n")


if __name__ == "__main__":
    main()
