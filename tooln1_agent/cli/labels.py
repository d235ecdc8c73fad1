"""`tooln1-agent label`: say what a logged turn should have done."""

from __future__ import annotations

import getpass
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from tooln1_agent.errors import LabelRefused
from tooln1_agent.feedback import Feedback
from tooln1_agent.replay.store import ReplayStore


def label(
    store: Annotated[Path, typer.Argument(help="The replay store.")],
    interaction: Annotated[str, typer.Argument(help="Id of the interaction, as `show` lists it.")],
    verdict: Annotated[str, typer.Argument(help="accept, reject or correction.")],
    calls: Annotated[
        str | None,
        typer.Option(
            help="With a correction: the right calls, as a JSON list of "
            '{"name": ..., "arguments": {...}}.'
        ),
    ] = None,
    no_call: Annotated[
        bool, typer.Option("--no-call", help="With a correction: calling nothing was right.")
    ] = False,
    turn: Annotated[int, typer.Option(help="Which model call is meant; 0 is the first.")] = 0,
    comment: Annotated[str, typer.Option(help="Why, for people to read.")] = "",
    author: Annotated[
        str | None, typer.Option(help="Who says so; the user of this process if not given.")
    ] = None,
) -> None:
    """Label a turn of a logged interaction; labels are added, never changed."""
    given = {
        "interaction": interaction,
        "turn": turn,
        "verdict": verdict,
        "calls": None if calls is None else _read_calls(calls),
        "no_call": no_call,
        "comment": comment,
    }
    try:
        feedback = Feedback.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))
        what = first["msg"].removeprefix("Value error, ")
        raise LabelRefused(f"{where}: {what}" if where else what) from error
    event = feedback.label(author=author or getpass.getuser(), now=datetime.now(UTC))
    with ReplayStore(store, create=False) as opened:
        opened.add_label(event)
    typer.echo(f"labelled turn {turn} of {interaction}: {verdict}, by {event.author}")


def _read_calls(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise LabelRefused(f"--calls is not valid JSON: {error}") from error
