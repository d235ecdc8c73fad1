"""One round after another: deploy, log, label, retrain, gate; the deployment changes on the way.

Each round begins with a copy of what the one before left, and is kept whole or not at all.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.evidence import changed
from benchmarks.evidence.arms import Arm
from benchmarks.evidence.measuring import Figures, ask, figures, held_out
from benchmarks.evidence.retrieval import with_examples
from benchmarks.evidence.running import NEIGHBOURS, Result
from benchmarks.evidence.training import retrain
from examples.demo_config import DemoConfig, FeedbackMix
from examples.demo_traffic import draw_moods
from examples.deployment_traffic import play
from examples.deployments import DEPLOYMENTS, Place
from tooln1_agent.adapters import Adapter, AdapterStore
from tooln1_agent.cli.targets import load_agent
from tooln1_agent.durable import write_whole
from tooln1_agent.examples import Example
from tooln1_agent.replay.store import ReplayStore
from tooln1_agent.verifier import examples_for

_RESULT = "result.json"


@dataclass(frozen=True, slots=True)
class RoundSettings:
    """How much of everything in one round."""

    model: str = "seed"
    rounds: int = 5
    changes_in: int = 3
    """The round in which the deployment is another one."""
    requests: int = 200
    speaks: float = 0.55
    """Share of the people who say anything."""
    questions: int = 200
    retrain_flags: tuple[str, ...] = (
        "--steps", "40", "--time-limit", "20m", "--max-tokens", "128", "--show-gold",
    )  # fmt: skip


QUICK = RoundSettings(
    rounds=2,
    changes_in=2,
    requests=12,
    questions=6,
    retrain_flags=("--steps", "2", "--max-tokens", "96", "--prompts-per-step", "4",
                   "--group-size", "4"),
)  # fmt: skip
"""Every part in small, to see whether it works; learns nothing."""


@dataclass(frozen=True, slots=True)
class Course:
    """One arm in one deployment under one seed, over all rounds."""

    name: str
    """Of the deployment."""
    seed: int
    arm: Arm
    work: Path
    settings: RoundSettings
    threads: int

    def run(self) -> list[Result]:
        """Run the rounds that have not been run; return the results of all."""
        return [self._round(number) for number in range(1, self.settings.rounds + 1)]

    def known(self) -> list[Result]:
        """Return the results of the rounds that have been run."""
        found = map(self._result, range(1, self.settings.rounds + 1))
        return [result for result in found if result is not None]

    def _path(self, number: int) -> Path:
        return self.work / f"{self.name}-{self.seed}" / self.arm.name / f"round-{number}"

    def _result(self, number: int) -> Result | None:
        path = self._path(number) / _RESULT
        if not path.exists():
            return None
        result: Result = json.loads(path.read_bytes())
        return result

    def _round(self, number: int) -> Result:
        if (known := self._result(number)) is not None:
            return known
        done = self._path(number)
        home = done.with_suffix(".unfinished")
        shutil.rmtree(home, ignore_errors=True)
        if number > 1:
            shutil.copytree(self._path(number - 1), home)
        else:
            home.mkdir(parents=True)
        found = self._live_through(number, home)
        write_whole(home / _RESULT, json.dumps(found, indent=2))
        home.rename(done)
        return found

    def _live_through(self, number: int, home: Path) -> Result:
        place = self._place(number)
        begin = end = self._begin(number, place, home)
        found: Result = {"deployment": self.name, "seed": self.seed, "arm": self.arm.name}
        if self.arm.trains or self.arm.retrieved:
            self._play(number, place, home)
            if self.arm.trains:
                flags = ["--model", self.settings.model, "--seed", str(self.seed)]
                flags += ["--agent", place.app, *self.settings.retrain_flags, *self.arm.flags]
                found |= retrain(home, flags, threads=self.threads).as_json()
            end = self._measure(place, home)
        found |= {"round": number, "begin": begin, "end": end, "labels": _label_count(home)}
        return found

    def _begin(self, number: int, place: Place, home: Path) -> Figures:
        """Return what the round begins with: what the last one ended with, if nothing changed."""
        last = self._result(number - 1)
        if last is None or place != self._place(number - 1):
            return self._measure(place, home)
        end: Figures = last["end"]
        return end

    def _place(self, number: int) -> Place:
        if number < self.settings.changes_in:
            return DEPLOYMENTS[self.name]
        return Place(changed.changed_by_name(self.name), f"{changed.__name__}:{self.name}")

    def _play(self, number: int, place: Place, home: Path) -> None:
        config = DemoConfig(
            out=home,
            seed=1000 * self.seed + number,
            model=self.settings.model,
            requests=self.settings.requests,
            feedback=FeedbackMix(speaks=self.settings.speaks),
        )
        requests = place.deployment.requests(config.seed, config.requests)
        agent = load_agent(place.app)
        asyncio.run(
            play(
                place.app,
                list(zip(requests, draw_moods(config), strict=True)),
                tools=agent.registry,
                instructions=agent.instructions,
                config=config,
            )
        )

    def _measure(self, place: Place, home: Path) -> Figures:
        """Ask the held-out requests of the deployment as it is now of what is live."""
        settings = self.settings
        questions = held_out(place.deployment, seed=self.seed, count=settings.questions)
        asked: Sequence[Example] = questions
        if self.arm.retrieved is not None:
            known = _known_examples(home / "replay.db", place)
            asked = with_examples(questions, known, k=NEIGHBOURS, place=self.arm.retrieved)
        live = _live(home / "adapters")
        (texts,) = ask(settings.model, asked, adapter=live, threads=self.threads)
        return figures(questions, texts)


def _known_examples(store: Path, place: Place) -> Sequence[Example]:
    """Return what labels say of the tools that the deployment has now."""
    if not store.exists():
        return ()
    with ReplayStore(store, create=False) as opened:
        return examples_for(opened, load_agent(place.app)).examples


def _live(adapters: Path) -> Adapter | None:
    version = AdapterStore(adapters).live_version() if adapters.is_dir() else None
    return None if version is None else AdapterStore(adapters).get(version)


def _label_count(home: Path) -> int:
    if not (home / "replay.db").exists():
        return 0
    with ReplayStore(home / "replay.db", create=False) as store:
        return sum(event.source in ("correction", "feedback") for event in store.labels())
