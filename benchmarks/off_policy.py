"""Does the log help? GRPO with logged replies in their groups, beside GRPO without, at equal steps.

python benchmarks/off_policy.py --seeds 1 2 3 --json     # some 20 minutes a seed, two quiet cores
python benchmarks/off_policy.py --quick                  # every part in small; learns nothing

The home office: 300 labelled requests, each with the one reply that was logged for it, 200 others
held out. An arm is a training run of --steps steps from a start: from the base model, or from an
adapter that has had as many steps without the log. Its log was written by the base or by that
adapter, so at the start it is of age 0 or of --steps steps; sampled at temperature 1, or greedy as
`serve` does by default. The same seed draws the same requests and prompts in every arm. Each result
is a file in --work, and what is there is not run again.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, NamedTuple

import torch

from benchmarks.evidence.measuring import held_out, labelled
from examples.deployments import DEPLOYMENTS
from tooln1_agent.engines.local.generate import generate
from tooln1_agent.engines.resolve import model_dir
from tooln1_agent.examples import Example
from tooln1_agent.messages import Sampling
from trainer.config import GrpoConfig
from trainer.grpo import train
from trainer.learner import new_learner
from trainer.logged import Logged
from trainer.metrics import StepMetrics
from trainer.policy import Policy, load_policy
from trainer.rollout import prompt_ids, sample_groups

Writer = Literal["base", "adapter"]
Result = dict[str, Any]


class Arm(NamedTuple):
    """Where a run starts from, and what log it has."""

    start: Writer
    log: Writer | None
    greedy: bool = False
    of: Literal["token", "completion"] = "token"

    @property
    def name(self) -> str:
        """Say it in the name of a file."""
        if self.log is None:
            return f"{self.start}-off"
        kind = "greedy" if self.greedy else "sampled"
        return f"{self.start}-log_{self.log}-{kind}-{self.of}"


ARMS = (
    Arm("base", None),
    Arm("base", "base"),
    Arm("base", "base", greedy=True),
    Arm("base", "base", of="completion"),
    Arm("adapter", None),
    Arm("adapter", "adapter"),
    Arm("adapter", "base"),
    Arm("adapter", "base", greedy=True),
    Arm("adapter", "base", of="completion"),
)


@dataclass(frozen=True, slots=True)
class Settings:
    """How much of everything."""

    seed: int = 1
    steps: int = 15
    labelled: int = 300
    held_out: int = 200
    prompts_per_step: int = 16
    group_size: int = 8
    precision: Literal["float32", "bfloat16"] = "float32"

    def config(self, **changes: Any) -> GrpoConfig:
        """Return the settings of a run of so many steps, whatever it achieves."""
        return GrpoConfig(
            steps=self.steps,
            prompts_per_step=self.prompts_per_step,
            group_size=self.group_size,
            precision=self.precision,
            seed=self.seed,
            max_tokens=96,
            solved_steps=10_000,
            flat_steps=10_000,
            **changes,
        )


QUICK = Settings(steps=1, labelled=12, held_out=8, prompts_per_step=2, group_size=4)


def written_by(
    policy: Policy, examples: Sequence[Example], *, greedy: bool, config: GrpoConfig
) -> dict[str, Logged]:
    """Return the reply that a policy gives to each example; none that is cut off."""
    sampling = Sampling(temperature=0.0 if greedy else 1.0, max_tokens=config.max_tokens)
    model, codec = policy.sampler(), policy.codec
    log = {}
    for start in range(0, len(examples), 64):
        part = examples[start : start + 64]
        drawn = generate(
            model,
            [prompt_ids(example, codec) for example in part],
            n=1,
            sampling=sampling,
            end_ids=codec.end_ids,
            generator=torch.Generator().manual_seed(config.seed + start),
        )
        for example, (sample,) in zip(part, drawn, strict=True):
            if sample.finish_reason == "stop":
                logprobs = sample.sampling_logprobs or sample.logprobs
                log[example.id] = Logged(
                    example=example.id, adapter=None, completion_ids=sample.ids, logprobs=logprobs
                )
    return log


def accuracy(policy: Policy, examples: Sequence[Example], config: GrpoConfig) -> float:
    """Return the share of right greedy replies."""
    groups = sample_groups(
        policy, examples, config=config, generator=torch.Generator(), greedy=True
    )
    return sum(group.is_right for group in groups) / len(groups)


class Bench:
    """The runs of one seed, in a directory of their own."""

    def __init__(self, work: Path, settings: Settings, model: Path) -> None:
        """Take up the directory; raises ValueError where it is of other settings."""
        self._home, self._settings, self._model = work / f"seed-{settings.seed}", settings, model
        self._home.mkdir(parents=True, exist_ok=True)
        told = json.dumps(asdict(settings) | {"model": str(model)}, indent=2)
        mark = self._home / "settings.json"
        if mark.exists() and mark.read_text() != told:
            raise ValueError(f"{str(mark)!r} is of other settings; give another --work")
        mark.write_text(told)

    def run(self, arm: Arm) -> Result:
        """Train an arm, unless its result is there, and measure it."""
        path = self._home / f"{arm.name}.json"
        if path.exists():
            return dict(json.loads(path.read_text()))
        config = self._settings.config(logged_replies=arm.log is not None, importance_of=arm.of)
        office, seed = DEPLOYMENTS["home_office"].deployment, self._settings.seed
        examples = labelled(office, seed=seed, count=self._settings.labelled)
        policy, log = self._policy(arm.start, config), {}
        if arm.log is not None:
            writer = self._policy(arm.log, config)
            log = written_by(writer, examples, greedy=arm.greedy, config=config)
        questions = held_out(office, seed=seed, count=self._settings.held_out)
        before = accuracy(policy, questions, config)
        began, steps = time.perf_counter(), list[StepMetrics]()
        learner = new_learner(policy, examples, config)
        learner.logged = log
        train(learner, config, checkpoints=self._home / arm.name, tell=steps.append)
        weights = [s.logged_weight for s in steps if s.logged_weight is not None]
        result = {
            "arm": arm.name,
            "before": before,
            "after": accuracy(policy, questions, config),
            "rewards": [s.reward for s in steps],
            "flat_share": fmean(s.flat_share for s in steps),
            "logged": len(log),
            "weights": weights,
            "train_s": time.perf_counter() - began,
        }
        if arm == ARMS[0]:
            policy.save_adapter(self._home / "adapter")
        _write(path, result)
        return result

    def _policy(self, which: Writer, config: GrpoConfig) -> Policy:
        """Load the base, or the adapter that the first arm has trained."""
        if which == "base":
            return load_policy(self._model, config)
        self.run(ARMS[0])
        return load_policy(self._model, config, start=self._home / "adapter")


def _write(path: Path, result: Result) -> None:
    staging = path.with_suffix(".tmp")
    staging.write_text(json.dumps(result, indent=2))
    staging.rename(path)


def gains(results: Iterable[Sequence[Result]]) -> dict[str, dict[str, float]]:
    """Return for each arm its accuracy in percent, and what it gains over the one without a log.

    Args:
        results: those of each seed, in the order of `ARMS`.
    """
    table = {}
    for number, arm in enumerate(ARMS):
        off = next(n for n, other in enumerate(ARMS) if other == Arm(arm.start, None))
        pairs = [(row[number]["after"], row[off]["after"]) for row in results]
        differences = [100 * (own - without) for own, without in pairs]
        table[arm.name] = {
            "after": 100 * fmean(own for own, _ in pairs),
            "gain": fmean(differences),
            "least_gain": min(differences),
            "most_gain": max(differences),
        }
    return table


def main() -> None:
    """Run what is missing, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("off-policy-work"))
    parser.add_argument("--model", default="seed", help="'seed' or a model directory")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--steps", type=int, default=Settings().steps)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="every part in small")
    parser.add_argument("--json", action="store_true", help="print one JSON object only")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    chosen = QUICK if options.quick else Settings(steps=options.steps, precision=options.precision)
    work = options.work / "quick" if options.quick else options.work
    results = []
    for seed in options.seeds:
        bench = Bench(work, replace(chosen, seed=seed), model_dir(options.model))
        row = []
        for arm in ARMS:
            row.append(bench.run(arm))
            told = row[-1]
            sys.stderr.write(
                f"seed {seed}  {arm.name:42}  {told['before']:.1%} -> {told['after']:.1%}  "
                f"{told['train_s']:.0f} s\n"
            )
        results.append(row)
    found = {"arms": gains(results), "seeds": results}
    sys.stdout.write(json.dumps(found, indent=None if options.json else 2) + "\n")


if __name__ == "__main__":
    main()
