"""`tooln1-agent import`: bring labelled data into a replay store."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tooln1_agent.datasets.forms import FORMS, read_rows
from tooln1_agent.datasets.imports import ImportReport, import_rows, label_from_rows
from tooln1_agent.datasets.records import import_records, read_records
from tooln1_agent.errors import ConfigError
from tooln1_agent.replay.labels import LabelPolicy
from tooln1_agent.replay.store import ReplayStore

_UNBOUNDED = LabelPolicy(max_labels_per_author_per_day=sys.maxsize)
"""Labels of an exported store met its quota when they were given."""
_REFUSED_SHOWN, _SHOWN_CHARS = 5, 300


class Format(StrEnum):
    """The forms of file that can be read."""

    bfcl = "bfcl"
    api_bank = "api-bank"
    xlam = "xlam"
    toolace = "toolace"
    openai = "openai"
    sharegpt = "sharegpt"
    tooln1 = "tooln1"


def import_file(
    store: Annotated[Path, typer.Argument(help="The replay store; made if absent.")],
    file: Annotated[
        Path, typer.Argument(help="JSON lines or one JSON list, plain or .gz, in UTF-8.")
    ],
    form: Annotated[
        Format,
        typer.Option(
            "--format",
            help="Whose form the file has; tooln1 is what `export --to jsonl` writes. "
            "docs/data.md shows a row of each.",
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
    """Import labelled prompts, as data of their own or as labels on traffic.

    A row that cannot be used is counted with its reason, and the import goes on.
    """
    if not file.is_file():
        raise ConfigError(f"there is no file {str(file)!r}")
    if form is Format.tooln1 and label_traffic:
        raise ConfigError("--label-traffic: the form tooln1 brings its traffic with it")
    with ReplayStore(store, create=not label_traffic, policy=_UNBOUNDED) as opened:
        _print(_bring(opened, file, form, label_traffic=label_traffic))


def _bring(store: ReplayStore, file: Path, form: Format, *, label_traffic: bool) -> ImportReport:
    if form is Format.tooln1:
        return import_records(store, read_records(file))
    rows = read_rows(file, next(name for name in FORMS if name == form))
    return label_from_rows(store, rows) if label_traffic else import_rows(store, rows)


def _print(report: ImportReport) -> None:
    typer.echo(f"labels added: {report.added}, there already: {report.known}")
    if report.interactions is not None:
        typer.echo(f"interactions added: {report.interactions}")
    if report.unmatched:
        typer.echo(f"rows that were never served: {report.unmatched}")
    if report.refused:
        typer.echo(f"rows refused: {len(report.refused)}, the first of them:")
        for row, why in list(report.refused.items())[:_REFUSED_SHOWN]:
            typer.echo(f"  {row}: {why}")
    if report.skipped:
        typer.echo(f"skipped: {sum(report.skipped.values())}")
        for reason, count in sorted(report.skipped.items(), key=lambda item: -item[1]):
            typer.echo(f"  {count:>7,}  {reason}")
        typer.echo("the first of them:")
        for skipped in report.first_skipped:
            why = f"{skipped.reason}: {skipped.detail}" if skipped.detail else skipped.reason
            typer.echo(f"  {skipped.place}: {why[:_SHOWN_CHARS]}")
