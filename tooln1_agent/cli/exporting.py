"""`tooln1-agent export`: write a replay store for other programs, or for another store."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tooln1_agent.datasets.export_store import export_examples, export_interactions
from tooln1_agent.engines.resolve import model_dir
from tooln1_agent.examples import Split
from tooln1_agent.replay.store import ReplayStore


class To(StrEnum):
    """The forms of file that can be written."""

    openai = "openai"
    trl = "trl"
    verl = "verl"
    parquet = "parquet"
    jsonl = "jsonl"


class What(StrEnum):
    """What of a store is written."""

    examples = "examples"
    interactions = "interactions"


class Side(StrEnum):
    """Which examples are written."""

    train = "train"
    holdout = "holdout"
    all = "all"


_SPLITS: dict[Side, Split | None] = {
    Side.train: "train",
    Side.holdout: "holdout",
    Side.all: None,
}


def export(
    store: Annotated[Path, typer.Argument(help="The replay store.")],
    to: Annotated[
        To,
        typer.Option(
            help="openai: chats with tools. trl: prompts with targets. verl: a directory with "
            "parquet, reward function, agent loop and launch script, for a model. parquet: a "
            "table. jsonl: our own form."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            help="The file to write; it is replaced at once or not at all. "
            "JSON lines are compressed if its name ends in .gz. For verl, a new directory."
        ),
    ],
    what: Annotated[
        What | None,
        typer.Option(
            help="examples, or all interactions with turns and labels (jsonl and parquet). "
            "[default: interactions for jsonl, else examples]"
        ),
    ] = None,
    split: Annotated[
        Side,
        typer.Option(
            help="Which examples: the gate judges by those in holdout, so train on none of them."
        ),
    ] = Side.train,
    model: Annotated[
        str | None,
        typer.Option(help="verl: the model to train, 'seed' or a directory; prompts are its ids."),
    ] = None,
) -> None:
    """Export examples, or whole interactions with their labels.

    Nothing of a request that did not allow training becomes an example.
    """
    chosen = what or (What.interactions if to is To.jsonl else What.examples)
    with ReplayStore(store, create=False) as opened:
        if chosen is What.interactions:
            report = export_interactions(opened, to.value, out)
        else:
            report = export_examples(
                opened,
                to.value,
                out,
                split=_SPLITS[split],
                model=None if model is None else model_dir(model),
            )
    typer.echo(f"{chosen} written to {out}: {report.written:,}")
    if report.skipped:
        typer.echo(f"skipped: {sum(report.skipped.values()):,}")
        for reason, count in sorted(report.skipped.items(), key=lambda item: -item[1]):
            typer.echo(f"  {count:>7,}  {reason}")
