"""`tooln1-agent import`: bring benchmark rows into a replay store."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tooln1_agent.datasets import import_rows, label_from_rows, read_benchmark
from tooln1_agent.errors import ConfigError
from tooln1_agent.replay.store import ReplayStore

_REFUSED_SHOWN = 5


class Format(StrEnum):
    """The forms of file that can be read."""

    bfcl = "bfcl"


def import_file(
    store: Annotated[Path, typer.Argument(help="The replay store; made if absent.")],
    file: Annotated[Path, typer.Argument(help="JSON lines, plain or .gz.")],
    form: Annotated[
        Format,
        typer.Option(
            "--format", help="bfcl: id, source, category, messages, tools, expected, match."
        ),
    ] = Format.bfcl,
    label_traffic: Annotated[
        bool,
        typer.Option(
            "--label-traffic",
            help="Add no rows; label what was served with exactly the prompt of a row.",
        ),
    ] = False,
) -> None:
    """Import labelled prompts, as data of their own or as labels on traffic."""
    assert form is Format.bfcl  # the only one there is
    if not file.is_file():
        raise ConfigError(f"there is no file {str(file)!r}")
    bring = label_from_rows if label_traffic else import_rows
    with ReplayStore(store, create=not label_traffic) as opened:
        report = bring(opened, read_benchmark(file))
    typer.echo(f"labels added: {report.added}, there already: {report.known}")
    if report.unmatched:
        typer.echo(f"rows that were never served: {report.unmatched}")
    if report.refused:
        typer.echo(f"rows refused: {len(report.refused)}, the first of them:")
    for row, why in list(report.refused.items())[:_REFUSED_SHOWN]:
        typer.echo(f"  {row}: {why}")
