"""`tooln1-agent labels` and `tooln1-agent renew`: see what labels say, and who says it."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from tooln1_agent.cli.output import print_json
from tooln1_agent.cli.targets import load_agent
from tooln1_agent.errors import ConfigError, UnknownRecord
from tooln1_agent.examples import LabelEvent
from tooln1_agent.replay.audit import Audited, audit, renewal
from tooln1_agent.replay.store import ReplayStore

StorePath = Annotated[Path, typer.Argument(help="The replay store.")]


def labels(
    store: StorePath,
    conflicts: Annotated[
        bool, typer.Option("--conflicts", help="Only turns whose labels or prompts disagree.")
    ] = False,
    expired: Annotated[
        bool, typer.Option("--expired", help="Only turns whose tools have changed; needs --agent.")
    ] = False,
    agent: Annotated[
        str | None, typer.Option(help="MODULE:AGENT that has the tools as they are now.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """Show every labelled turn: what its labels come to, who gave them, and on what evidence."""
    if expired and agent is None:
        raise ConfigError("--expired needs the tools as they are now: give --agent MODULE:AGENT")
    now = None if agent is None else load_agent(agent).registry.specs
    with ReplayStore(store, create=False) as opened:
        found = audit(opened.labelled(tools_now=now), tools_now=now)
    if conflicts:
        found = [turn for turn in found if turn.is_conflict]
    if expired:
        found = [turn for turn in found if turn.changed]
    if as_json:
        print_json([_as_json(turn) for turn in found])
        return
    for turn in found:
        for line in _lines(turn):
            typer.echo(line)
    typer.echo(f"{len(found)} labelled turns")


def renew(
    store: StorePath,
    interaction: Annotated[str, typer.Argument(help="Id of the interaction.")],
    agent: Annotated[str, typer.Option(help="MODULE:AGENT that has the tools as they are now.")],
    turn: Annotated[int, typer.Option(help="Which model call is meant; 0 is the first.")] = 0,
    author: Annotated[
        str | None, typer.Option(help="Who says so; the user of this process if not given.")
    ] = None,
) -> None:
    """Vouch that an expired target is right for the tools as they are now."""
    tools_now = load_agent(agent).registry.specs
    with ReplayStore(store, create=False) as opened:
        made = next((m for m in opened.labelled(interaction=interaction) if m.turn == turn), None)
        if made is None:
            raise UnknownRecord(f"turn {turn} of interaction {interaction!r} has no label")
        who = author or getpass.getuser()
        event = renewal(made, tools_now, author=who, now=datetime.now(UTC))
        opened.add_label(event)
    typer.echo(f"renewed turn {turn} of {interaction}, by {event.author}")


def _lines(turn: Audited) -> Iterator[str]:
    made = turn.made
    yield f"{made.interaction} turn {made.turn}: {_outcome(turn)}"
    for event in made.events:
        yield f"    {_said(event)}"
    if turn.disagree:
        yield "    ! these labels disagree"
    for rival in turn.rivals:
        yield f"    ! {rival.interaction} turn {rival.turn} has the same prompt, and says otherwise"
    for name in turn.changed:
        yield f"    ! tool {name!r} is gone or has changed; `tooln1-agent renew` if still right"


def _outcome(turn: Audited) -> str:
    example = turn.made.example
    if example is None:
        return f"no example ({turn.made.skipped})"
    note = f", left out ({turn.made.skipped})" if turn.made.skipped else ""
    return f"{example.split}, {example.source}{note}: {example.target.model_dump_json()}"


def _said(event: LabelEvent) -> str:
    what = event.verdict if event.target is None else event.target.model_dump_json()
    who = f"{event.author or '-'} (trust {event.trust:g})"
    why = f" because: {event.evidence}" if event.evidence else ""
    return f"{event.created_at:%Y-%m-%d %H:%M:%S} {event.source} by {who}: {what}{why}"


def _as_json(turn: Audited) -> dict[str, Any]:
    made = turn.made
    return {
        "interaction": made.interaction,
        "turn": made.turn,
        "example": None if made.example is None else made.example.model_dump(mode="json"),
        "skipped": made.skipped,
        "labels": [event.model_dump(mode="json") for event in made.events],
        "disagree": turn.disagree,
        "rivals": [{"interaction": o.interaction, "turn": o.turn} for o in turn.rivals],
        "changed_tools": list(turn.changed),
    }
