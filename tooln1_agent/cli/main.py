"""Puts the subcommands together, and turns our errors into one line and exit code 2."""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from tool_registry.errors import ToolRegistryError
from tooln1_agent.cli import (
    adapters,
    auditing,
    exporting,
    finding,
    gate,
    importing,
    labels,
    looking,
    probing,
    redacting,
    serving,
)
from tooln1_agent.cli.plugins import CommandGroup, foreign_trainer
from tooln1_agent.errors import ToolN1Error

USAGE_ERROR = 2


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tooln1-agent {version('tooln1-agent')}")
        raise typer.Exit


def _root(
    show_version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Serve tool-using agents, keep what they do, label it, and let them learn from it."""


def build() -> typer.Typer:
    """Return the command with all its subcommands."""
    app = typer.Typer(
        name="tooln1-agent",
        cls=CommandGroup,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(_root)
    app.command()(serving.serve)
    app.command()(labels.label)
    app.command()(auditing.labels)
    app.command()(auditing.renew)
    app.command()(finding.find_labels)
    app.command()(redacting.redact)
    app.command()(looking.stats)
    app.command()(looking.show)
    app.command("import")(importing.import_file)
    app.command()(exporting.export)
    app.command()(gate.gate)
    app.command()(probing.probe)
    app.add_typer(adapters.app, name="adapters")
    return app


def main() -> None:
    """Run the command; an error that is ours is shown as its message, never as a traceback."""
    if warning := foreign_trainer():
        print(f"warning: {warning}", file=sys.stderr)  # noqa: T201 - the terminal is the output
    try:
        build()()
    except (ToolN1Error, ToolRegistryError) as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(USAGE_ERROR)
