"""A cell of the table: one deployment under one seed, with its traffic and its questions."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass
from pathlib import Path

from examples.demo_config import DemoConfig, FeedbackMix
from examples.demo_traffic import draw_moods
from examples.deployment_traffic import play
from examples.deployments import DEPLOYMENTS
from tooln1_agent.agent import Agent
from tooln1_agent.cli.targets import load_agent
from tooln1_agent.rules import BUILT_IN
from trainer.seed.deployment import Deployment, Request

MOST_LOGGED = 1000
"""Logged interactions that the usual number of labels may be taken from."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How much of everything; what two runs in one work directory must have in common."""

    model: str = "seed"
    labels: int = 300
    """Labels of an arm that does not say otherwise."""
    requests: int = 560
    """Requests that so many labels are taken from; each is one to three logged interactions."""
    speaks: float = 0.58
    """Share of the people who say anything; a few more than the labels, which come in first."""
    questions: int = 200
    """Held-out requests of the deployment."""
    old_skills: int = 201
    """Fresh episodes of the world that the model comes from."""
    rehearsed: int = 200
    """Other episodes of it, imported where an arm rehearses them."""
    rehearsed_share: float = 0.2
    """Share of the prompts of a step that are of these."""
    groups: int = 48
    """Groups of eight samples in which spread is looked for before learning."""
    steps: int = 90
    """Optimizer steps of an arm that does not say otherwise, within `time_limit`."""
    time_limit: str = "5m"
    long_steps: int = 300
    """Most steps of an arm that trains to convergence, or as long as another one."""
    long_time_limit: str = "15m"
    retrain_flags: tuple[str, ...] = (
        "--max-tokens", "128", "--checkpoint-every", "30", "--adapter-scale", "0.5",
        "--imported-beta", "0.3",
    )  # fmt: skip


QUICK = Settings(
    labels=8,
    requests=20,
    questions=8,
    old_skills=6,
    rehearsed=8,
    groups=2,
    steps=3,
    time_limit="1m",
    long_steps=4,
    long_time_limit="1m",
    retrain_flags=("--max-tokens", "96", "--prompts-per-step", "4", "--group-size", "4",
                   "--sft-steps", "2"),
)  # fmt: skip
"""Every part in small, to see whether it works; learns nothing."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One deployment under one seed, which decides requests, people and rollouts."""

    name: str
    """Of the deployment."""
    seed: int
    work: Path
    settings: Settings
    threads: int
    """Of torch, in every process of this cell."""

    @property
    def path(self) -> Path:
        """Where everything of this cell lies."""
        return self.work / f"{self.name}-{self.seed}"

    @property
    def deployment(self) -> Deployment:
        return DEPLOYMENTS[self.name].deployment

    @property
    def app(self) -> str:
        """What `tooln1-agent serve` is told to serve."""
        return DEPLOYMENTS[self.name].app

    @property
    def agent(self) -> Agent:
        return load_agent(self.app)

    @property
    def rule(self) -> str:
        """Name of the deployment's own rule."""
        return next(name for name in self.agent.rules if name not in BUILT_IN)

    def requests(self, labels: int) -> list[Request]:
        """Return the requests of the traffic that so many labels are taken from."""
        return self.deployment.requests(self.seed, self._count(labels))

    def has_traffic(self, labels: int) -> bool:
        """Whether the traffic that so many labels are taken from has been made."""
        return self._traffic(labels).exists()

    def traffic(self, labels: int) -> Path:
        """Return the replay store that holds at least so many labels; made by the first call."""
        done = self._traffic(labels)
        if not done.exists():
            unfinished = done.with_suffix(".unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            self._play(unfinished, labels)
            unfinished.rename(done)
        return done / "replay.db"

    def _traffic(self, labels: int) -> Path:
        return self.path / f"traffic-{max(labels, self.settings.labels)}"

    def _play(self, out: Path, labels: int) -> None:
        config = DemoConfig(
            out=out,
            seed=self.seed,
            model=self.settings.model,
            requests=self._count(labels),
            feedback=FeedbackMix(speaks=self.settings.speaks),
        )
        asked = list(zip(self.requests(labels), draw_moods(config), strict=True))
        agent = self.agent
        asyncio.run(
            play(
                self.app,
                asked,
                tools=agent.registry,
                instructions=agent.instructions,
                config=config,
            )
        )

    def logged(self, labels: int) -> int:
        """Return how many logged interactions so many labels may be taken from."""
        return MOST_LOGGED * self._times(labels)

    def _count(self, labels: int) -> int:
        return self.settings.requests * self._times(labels)

    def _times(self, labels: int) -> int:
        """Return how many times the usual traffic is needed for so many labels."""
        return max(1, labels // self.settings.labels)
