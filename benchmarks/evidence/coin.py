"""Agents whose rule throws a coin: `benchmarks.evidence.coin:marina`, and so for each deployment.

What a reply calls is run, as for any rule, and then pays or does not, whatever it was.
"""

from __future__ import annotations

import random

from examples.deployments import DEPLOYMENTS
from tooln1_agent.agent import Agent
from tooln1_agent.cli.targets import load_agent
from tooln1_agent.rules import Outcome

RULE = "coin"
_generator = random.Random(0)


def coin(_: Outcome) -> bool:
    """Say that it is right every other time, at random."""
    return _generator.random() < 0.5


def __getattr__(name: str) -> Agent:
    if name not in DEPLOYMENTS:
        raise AttributeError(f"there is no deployment {name!r}; there are {', '.join(DEPLOYMENTS)}")
    agent = load_agent(DEPLOYMENTS[name].app)
    return Agent(
        "seed",
        tools=agent.registry,
        instructions=agent.instructions,
        limits=agent.limits,
        rules=[coin],
        scratch=agent.scratch,
    )
