"""A deployment after a change: every other tool renamed, one added, days written another way.

`benchmarks.evidence.changed:marina` is the agent of the changed marina, and so for each deployment.
Its tools say that they have done it: what they would do is no part of what is measured.
"""

from __future__ import annotations

from dataclasses import replace
from typing import get_args, get_type_hints

from examples.deployments import DEPLOYMENTS
from tool_registry import Tool, ToolSpec
from tooln1_agent.agent import Agent
from tooln1_agent.cli.targets import load_agent
from trainer.seed.deployment import Deployment
from trainer.seed.values import Conventions


def changed(deployment: Deployment, *, donor: Deployment) -> Deployment:
    """Return a deployment as it is after the change.

    Args:
        donor: the first tool of which is the one added, with what people ask of it.
    """
    names = {spec.name: _swapped(spec.name) for spec in deployment.tools[::2]}
    added = donor.errands[0]
    new_tool = next(spec for spec in donor.tools if spec.name == added.tool)
    errands = [replace(e, tool=names.get(e.tool, e.tool)) for e in deployment.errands]
    return replace(
        deployment,
        tools=(*(_renamed(spec, names) for spec in deployment.tools), new_tool),
        errands=(*errands, added),
        conventions=replace(deployment.conventions, date=_next_date(deployment.conventions)),
    )


def changed_by_name(name: str) -> Deployment:
    """Return one of the deployments after the change; the next one gives it a tool."""
    order = list(DEPLOYMENTS)
    donor = order[(order.index(name) + 1) % len(order)]
    return changed(DEPLOYMENTS[name].deployment, donor=DEPLOYMENTS[donor].deployment)


def __getattr__(name: str) -> Agent:
    if name not in DEPLOYMENTS:
        raise AttributeError(f"there is no deployment {name!r}; there are {', '.join(DEPLOYMENTS)}")
    agent, deployment = load_agent(DEPLOYMENTS[name].app), changed_by_name(name)
    return Agent(
        "seed",
        tools=[Tool(spec, _done) for spec in deployment.tools],
        instructions=deployment.instructions,
        limits=agent.limits,
        sampling=agent.sampling,
    )


def _done(**_: object) -> str:
    return "done"


def _swapped(name: str) -> str:
    """Return a name of the same words: `lift_mast` becomes `mast_lift`."""
    first, _, rest = name.partition("_")
    return f"{rest}_{first}"


def _renamed(spec: ToolSpec, names: dict[str, str]) -> ToolSpec:
    return spec.model_copy(update={"name": names.get(spec.name, spec.name)})


def _next_date(conventions: Conventions) -> str:
    ways = get_args(get_type_hints(Conventions)["date"])
    return str(ways[(ways.index(conventions.date) + 1) % len(ways)])
