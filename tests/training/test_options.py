"""The settings of a run as flags."""

from __future__ import annotations

from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from trainer.command import settings as read_settings
from trainer.config import GrpoConfig
from trainer.options import given, with_settings


def run(*arguments: str, names: tuple[str, ...] = ()) -> dict[str, Any]:
    """What a command is given by these arguments."""
    heard: dict[str, Any] = {}

    @with_settings(*names)
    def command(store: str = "", **settings: Any) -> None:
        heard.update(given(settings))

    app = typer.Typer()
    app.command()(command)
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == 0, done.output
    return heard


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], {}),
        (["--store", "x", "--steps", "3"], {"steps": 3}),
        (["--learning-rate", "1e-4", "--loss", "dapo"], {"learning_rate": 1e-4, "loss": "dapo"}),
        (["--logged-replies"], {"logged_replies": True}),
        (["--no-gradient-checkpointing"], {"gradient_checkpointing": False}),
        (["--lora-rank", "32"], {"lora_rank": 32}),
        (["--time-limit", "5m"], {"time_limit_s": 300.0}),
    ],
)
def test_flags_that_are_given_are_settings(arguments: list[str], expected: dict[str, Any]) -> None:
    found = run(*arguments)
    assert found == expected
    assert read_settings(found) == GrpoConfig(**expected)


def test_every_setting_has_a_flag_with_its_doc_and_default() -> None:
    app = typer.Typer()

    @app.command()
    @with_settings()
    def command(**settings: Any) -> None: ...

    flags = {parameter.name: parameter for parameter in typer.main.get_command(app).params}
    assert GrpoConfig.model_fields.keys() <= flags.keys()
    assert flags["max_grad_norm"].help == GrpoConfig.model_fields["max_grad_norm"].description
    assert flags["max_grad_norm"].show_default == "1.0"
    assert flags["shuffle_labels"].hidden


def test_a_command_may_take_some_settings_only() -> None:
    assert run("--steps", "3", names=("steps", "beta")) == {"steps": 3}
    with pytest.raises(AssertionError, match="No such option"):
        run("--loss", "dapo", names=("steps", "beta"))
