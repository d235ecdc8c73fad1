"""Subcommands of other packages, found by entry point and imported only when they are used."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from importlib.metadata import EntryPoint, PackageNotFoundError, distribution, entry_points
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

import tooln1_agent
from tooln1_agent.errors import ConfigError

GROUP = "tooln1_agent.commands"
_RIVALS = ("trainer", "coqui-tts-trainer")
"""Distributions on PyPI that install a package named `trainer` too."""


class CommandGroup(TyperGroup):
    """A group that also has the subcommands that other packages register.

    One whose import fails is still listed, and says why when it is invoked.
    """

    def list_commands(self, ctx: Any) -> list[str]:
        registered = {entry.name for entry in entry_points(group=GROUP)}
        return [*super().list_commands(ctx), *sorted(registered - set(self.commands))]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if own := super().get_command(ctx, cmd_name):
            return own
        entries = tuple(entry_points(group=GROUP, name=cmd_name))
        return _command(entries[0]) if entries else None


def foreign_trainer() -> str | None:
    """Say what to do if the package `trainer` that Python would import is another's."""
    spec = importlib.util.find_spec("trainer")
    if spec is None or spec.origin is None:
        return None
    ours = Path(tooln1_agent.__file__).resolve().parent.parent
    theirs = Path(spec.origin).resolve().parent.parent
    rival = next((name for name in _RIVALS if _is_installed(name)), None)
    if ours == theirs and rival is None:
        return None
    return (
        f"the package 'trainer' at {theirs} is not the one of tooln1-agent; training commands "
        f"cannot work. Run `pip uninstall {rival or 'trainer'}` and then `pip install "
        "--force-reinstall --no-deps tooln1-agent`, or use an environment of its own"
    )


def _command(entry: EntryPoint) -> Any:
    """Return the command of an entry point, or one that says why there is none."""
    try:
        target = entry.load()
    except (ImportError, AttributeError) as error:
        return _unavailable(entry, error)
    if isinstance(target, typer.Typer):
        return typer.main.get_command(target)
    return _as_command(entry.name, target)


def _as_command(name: str, function: Callable[..., Any]) -> Any:
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(name)(function)
    return typer.main.get_command(app)


def _unavailable(entry: EntryPoint, error: Exception) -> Any:
    def refuse() -> None:
        advice = foreign_trainer() or (
            "install what it needs, for the trainer with `pip install 'tooln1-agent[train]'`"
        )
        raise ConfigError(
            f"command {entry.name!r} ({entry.value}) cannot be loaded: {error}; {advice}"
        ) from error

    settings = {"ignore_unknown_options": True, "allow_extra_args": True}
    return TyperCommand(
        entry.name,
        callback=refuse,
        context_settings=settings,
        help="(Cannot be loaded; run it to see why.)",
    )


def _is_installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True
