"""`tooln1-agent stats` and `tooln1-agent show`: read what was logged."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from tooln1_agent.cli.output import console, print_json, table
from tooln1_agent.cli.reading import print_interaction, summary
from tooln1_agent.replay.store import ReplayStore

StorePath = Annotated[Path, typer.Argument(help="The replay store.")]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON.")]


def stats(store: StorePath, as_json: AsJson = False) -> None:
    """Count what a replay store holds."""
    with ReplayStore(store, create=False) as opened:
        found = opened.stats().model_dump(mode="json")
    if as_json:
        print_json(found)
        return
    rows = table("what", "count")
    for name, value in found.items():
        if not isinstance(value, dict):
            rows.add_row(name.replace("_", " "), f"{value:,}")
            continue
        for kind, count in value.items():
            rows.add_row(f"{name.replace('_', ' ')}: {kind}", f"{count:,}")
    console.print(rows)


def show(
    store: StorePath,
    interaction: Annotated[
        str | None, typer.Argument(help="Id of one interaction to show whole.")
    ] = None,
    last: Annotated[int, typer.Option(min=1, help="How many of the newest to list.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Show what was logged: the newest interactions, or one of them turn by turn."""
    with ReplayStore(store, create=False) as opened:
        if interaction is not None:
            found = opened.interaction(interaction)
            labels = opened.labels(interaction)
            if as_json:
                body = found.model_dump(mode="json")
                print_json({**body, "labels": [e.model_dump(mode="json") for e in labels]})
            else:
                print_interaction(found, labels)
            return
        newest = tuple(opened.interactions(limit=last, newest_first=True))
    if as_json:
        print_json([found.model_dump(mode="json") for found in newest])
        return
    rows = table("interaction", "when", "by", "adapter", "turns", "stop", "asked", "did")
    for found in newest:
        rows.add_row(*map(escape, summary(found)))
    console.print(rows)
