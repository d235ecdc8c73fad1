"""`tooln1-agent find-labels`: what logged traffic itself tells, shown with its evidence."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tooln1_agent.cli.output import print_json
from tooln1_agent.cli.targets import load_agent
from tooln1_agent.errors import ConfigError
from tooln1_agent.examples import LabelEvent
from tooln1_agent.replay.found import is_said, write_found
from tooln1_agent.replay.hindsight import find_hindsight
from tooln1_agent.replay.implicit import find_implicit
from tooln1_agent.replay.store import ReplayStore
from tooln1_agent.replay.verified import find_judgeable, find_verified
from tooln1_agent.rules import Rule

_SECONDS_PER_HOUR = 3600


class Found(StrEnum):
    """The sources that are searched for rather than told."""

    hindsight = "hindsight"
    verifier = "verifier"
    implicit = "implicit"
    rule = "rule"


def find_labels(
    store: Annotated[Path, typer.Argument(help="The replay store.")],
    source: Annotated[
        Found,
        typer.Argument(
            help="hindsight: a failed turn that a later one mended; verifier: the rules of "
            "--agent on what its tools returned; implicit: it worked and nobody objected; rule: "
            "--rule is to judge what is sampled for each request that nobody labelled."
        ),
    ],
    agent: Annotated[
        str | None, typer.Option(help="MODULE:AGENT whose rules are asked, for verifier and rule.")
    ] = None,
    rule: Annotated[str | None, typer.Option(help="For rule: name of the agent's rule.")] = None,
    quiet_hours: Annotated[
        float, typer.Option(min=0, help="For implicit: how long nobody must have objected.")
    ] = 24.0,
    add: Annotated[bool, typer.Option("--add", help="Add them to the store.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write what was found as JSON.")] = False,
) -> None:
    """Search logged traffic for labels and show the new ones, each with its evidence."""
    with ReplayStore(store, create=False) as opened:
        found = _find(opened, source, agent, rule=rule, quiet_s=quiet_hours * _SECONDS_PER_HOUR)
        new = [event for event in found if not is_said(event, opened.labels(event.interaction))]
        written = write_found(opened, new) if add else None
    if as_json:
        print_json([event.model_dump(mode="json") for event in new])
        return
    for event in new:
        what = event.verdict if event.target is None else event.target.model_dump_json()
        typer.echo(f"{event.interaction} turn {event.turn}: {what}\n    {event.evidence}")
    typer.echo(f"{len(found)} found, {len(new)} of them new")
    if written is not None:
        typer.echo(f"{written.added} added, {written.refused} refused")
    elif new:
        typer.echo("nothing was written; --add does")


def _find(
    store: ReplayStore, source: Found, agent: str | None, *, rule: str | None, quiet_s: float
) -> list[LabelEvent]:
    match source:
        case Found.hindsight:
            return find_hindsight(store)
        case Found.implicit:
            return find_implicit(store, quiet_s=quiet_s, now=datetime.now(UTC))
        case Found.verifier:
            return list(find_verified(store, _rules(source, agent)))
        case Found.rule:
            known = _rules(source, agent)
            if rule is None or rule not in known:
                raise ConfigError(f"--rule {rule!r} is no rule of the agent: {', '.join(known)}")
            return list(find_judgeable(store, rule))


def _rules(source: Found, agent: str | None) -> Mapping[str, Rule]:
    if agent is None:
        raise ConfigError(f"{source} asks an agent's rules: give --agent MODULE:AGENT")
    return load_agent(agent).rules
