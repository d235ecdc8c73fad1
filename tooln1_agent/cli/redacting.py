"""`tooln1-agent redact`: take texts out of a replay store, for good."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tooln1_agent.errors import ConfigError
from tooln1_agent.replay.store import ReplayStore

STILL_READ = 1


def redact(
    store: Annotated[Path, typer.Argument(help="The replay store.")],
    texts: Annotated[
        list[str] | None, typer.Argument(help="What to take out, such as a name or a number.")
    ] = None,
    file: Annotated[
        typer.FileText | None,
        typer.Option(help="Texts to take out, one a line; '-' reads them from standard input."),
    ] = None,
) -> None:
    """Put a placeholder for each text wherever it stands: messages, replies, results, labels.

    Exit code 1 where another process still reads what the store held before.
    """
    wanted = [*(texts or ()), *(line.strip() for line in file or () if line.strip())]
    if not wanted:
        raise ConfigError("nothing to redact: give texts, or --file")
    with ReplayStore(store, create=False) as opened:
        done = opened.redact(wanted)
    typer.echo(
        f"rewritten: {done.messages} messages, {done.labels} labels; {done.turns} turns lost "
        "their token ids"
    )
    for number, placeholder in enumerate(done.placeholders.values(), 1):
        typer.echo(f"text {number} is {placeholder} now")
    for place, count in done.left_in.items():
        typer.echo(f"still in {count} {place}, which are not rewritten")
    if not done.is_erased:
        typer.echo(
            "another process still reads the old pages; end it and redact again to erase them"
        )
        raise typer.Exit(STILL_READ)
