"""The settings of a run as flags of a command: one for each field of `GrpoConfig`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from trainer.config import GrpoConfig
from trainer.durations import seconds

Command = TypeVar("Command", bound=Callable[..., None])

_HIDDEN = frozenset({"shuffle_labels"})  # a control, for tests


def with_settings(*names: str) -> Callable[[Command], Command]:
    """Give a Typer command flags in place of its `**settings`: one for each setting.

    A setting in seconds is given as a duration (5m), by a flag without the unit.

    Args:
        names: of the settings that get a flag; all if none is given.
    """

    def give(command: Command) -> Command:
        plain = inspect.signature(command, eval_str=True)
        own = [p for p in plain.parameters.values() if p.kind is not p.VAR_KEYWORD]
        flags = [_flag(name) for name in names or GrpoConfig.model_fields]
        signature = plain.replace(parameters=[*own, *flags])
        command.__signature__ = signature  # type: ignore[attr-defined]  # what Typer reads
        return command

    return give


def given(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings whose flags were given, durations in seconds."""
    return {
        name: seconds(value) if name.endswith("_s") and isinstance(value, str) else value
        for name, value in settings.items()
        if value is not None
    }


def _flag(name: str) -> inspect.Parameter:
    field = GrpoConfig.model_fields[name]
    kind, choices = _kind(field)
    word = name.removesuffix("_s").replace("_", "-")
    option = typer.Option(
        None,
        f"--{word}/--no-{word}" if kind is bool else f"--{word}",
        help=" ".join((field.description or "").split()),
        metavar="|".join(map(str, choices)) or None,
        show_default=False if field.default is None else str(field.default),
        hidden=name in _HIDDEN,
        rich_help_panel="Settings",
    )
    annotation = (str if name.endswith("_s") else kind) | None
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=option, annotation=annotation
    )


def _kind(field: FieldInfo) -> tuple[type, tuple[Any, ...]]:
    """Return the type of a setting's value, and the values that it may have where these are few."""
    annotation = field.annotation
    if get_origin(annotation) in (Union, UnionType):
        (annotation,) = (each for each in get_args(annotation) if each is not type(None))
    if get_origin(annotation) is Literal:
        choices = get_args(annotation)
        return type(choices[0]), choices
    assert isinstance(annotation, type)  # of a setting: a plain type, or a Literal
    return annotation, ()
