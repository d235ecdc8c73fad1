"""`tooln1-agent adapters`: what there is, what is live, and moves by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tooln1_agent.adapters import AdapterStore
from tooln1_agent.cli.output import console, print_json, table
from tooln1_agent.errors import AdapterError

app = typer.Typer(help="List adapters, and choose by hand which one is live.", no_args_is_help=True)

Root = Annotated[Path, typer.Argument(metavar="DIR", help="The directory of adapters.")]
Reason = Annotated[str, typer.Option(help="Why, for the history.")]


@app.command("list")
def list_adapters(
    root: Root, as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False
) -> None:
    """List the adapters, oldest first; an asterisk marks the live one."""
    store = _open(root)
    live, found = store.live_version(), store.list()
    if as_json:
        listed = [{**a.model_dump(mode="json"), "is_live": a.version == live} for a in found]
        print_json({"live": live, "adapters": listed})
        return
    rows = table("", "version", "base model", "parent", "made")
    for adapter in found:
        mark = "*" if adapter.version == live else ""
        made = f"{adapter.created_at:%Y-%m-%d %H:%M}"
        rows.add_row(mark, adapter.version, adapter.base_model, adapter.parent or "-", made)
    console.print(rows)
    if live is None:
        console.print("live: the base model alone")


@app.command()
def promote(
    root: Root,
    version: Annotated[str, typer.Argument(help="Version to make live, or 'base'.")],
    reason: Reason = "by hand",
) -> None:
    """Make an adapter live without asking the gate; running servers follow at once."""
    _open(root).promote(None if version == "base" else version, reason=reason)
    typer.echo(f"live: {version}")


@app.command()
def rollback(root: Root, reason: Reason = "rollback by hand") -> None:
    """Go back to what was live before."""
    adapter = _open(root).rollback(reason=reason)
    typer.echo(f"live: {adapter.version if adapter else 'the base model alone'}")


def _open(root: Path) -> AdapterStore:
    if not root.is_dir():
        raise AdapterError(f"there is no directory {str(root)!r}; `tooln1-agent retrain` makes one")
    return AdapterStore(root)
