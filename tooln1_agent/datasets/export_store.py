"""Writes what a store holds to a file for elsewhere, and counts what it leaves out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tooln1_agent.codec import Codec
from tooln1_agent.datasets.exports import (
    example_columns,
    example_row,
    interaction_columns,
    openai_row,
    trl_row,
    verl_row,
)
from tooln1_agent.datasets.records import record_line
from tooln1_agent.datasets.verl_kit import write_kit
from tooln1_agent.datasets.writing import write_lines, write_parquet
from tooln1_agent.errors import ConfigError, DataError, RowRefused
from tooln1_agent.examples import Example, NoCall, Split
from tooln1_agent.replay.rows import to_json
from tooln1_agent.replay.store import ReplayStore

Destination = Literal["openai", "trl", "verl", "parquet", "jsonl"]
Content = Literal["examples", "interactions"]


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What came of an export."""

    written: int
    """Rows in the file."""
    skipped: dict[str, int]
    """How many labelled turns are not in it, by reason."""


def export_interactions(store: ReplayStore, to: Destination, out: Path) -> ExportReport:
    """Write every interaction with its turns and labels, those under `no_train` too, as marked.

    Raises:
        ConfigError: this destination takes examples only, or the file cannot be written.
        DataError: the store is empty; nothing is written.
    """
    if to == "jsonl":
        lines = (record_line(each, store.labels(each.id)) for each in store.interactions())
        return ExportReport(write_lines(out, lines), {})
    if to == "parquet":
        rows = (interaction_columns(each, store.labels(each.id)) for each in store.interactions())
        return ExportReport(write_parquet(out, rows), {})
    raise ConfigError(f"{to!r} takes examples; interactions go to 'jsonl' or 'parquet'")


def export_examples(
    store: ReplayStore,
    to: Destination,
    out: Path,
    *,
    split: Split | None = "train",
    model: Path | None = None,
) -> ExportReport:
    """Write the examples of a store, which never come from interactions under `no_train`.

    Args:
        out: the file to write; for verl, the directory to make.
        split: which side to write; None for both.
        model: verl alone: the directory of the model to train.

    Raises:
        ConfigError: the file cannot be written, needs a package that is not installed, or, for
            verl, a model.
        DataError: there are no such examples; nothing is written.
        ModelNotFound: the model has no tokenizer that prompts can be written with.
    """
    if (to == "verl") != (model is not None):
        raise ConfigError("a model directory (--model) goes with verl, and with nothing else")
    found = store.examples()
    skipped = Counter[str](found.skipped)
    codec = None if model is None else Codec.load(model)
    rows = _rows(store, found.examples, to, split=split, codec=codec, skipped=skipped)
    try:
        if model is not None:
            written = write_kit(out, list(rows), model=model)
        elif to == "parquet":
            written = write_parquet(out, rows)
        else:
            written = write_lines(out, map(to_json, rows))
    except DataError as error:
        reasons = ", ".join(f"{count} {reason}" for reason, count in skipped.items())
        raise DataError(f"{error}; skipped: {reasons or 'nothing'}") from error
    return ExportReport(written, dict(skipped))


def _rows(
    store: ReplayStore,
    examples: tuple[Example, ...],
    to: Destination,
    *,
    split: Split | None,
    codec: Codec | None,
    skipped: Counter[str],
) -> Iterator[dict[str, Any]]:
    index = 0
    for example in examples:
        if split not in (None, example.split):
            skipped[f"in the split {example.split!r}"] += 1
            continue
        try:
            row = _row(store, example, to, index=index, codec=codec)
        except RowRefused as error:
            skipped[error.reason] += 1
            continue
        index += 1
        yield row


def _row(
    store: ReplayStore, example: Example, to: Destination, *, index: int, codec: Codec | None
) -> dict[str, Any]:
    match to:
        case "openai":
            return openai_row(example, answer=_answer(store, example))
        case "trl":
            return trl_row(example)
        case "verl":
            assert codec is not None
            return verl_row(example, index=index, codec=codec)
        case "parquet":
            return example_columns(example)
        case "jsonl":
            return example_row(example)


def _answer(store: ReplayStore, example: Example) -> str | None:
    """Return what was answered where calling nothing was right, and nothing was called."""
    if not isinstance(example.target, NoCall) or example.interaction is None:
        return None
    turns = store.interaction(example.interaction).turns
    if example.turn >= len(turns):
        return None
    reply = turns[example.turn].reply
    return None if reply.calls or reply.faults else reply.answer
