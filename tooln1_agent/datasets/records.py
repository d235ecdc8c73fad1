"""Our own form: one interaction a line, with its turns and labels, as the store keeps them.

`{"form": "tooln1", "version": 1, "interaction": {...}, "labels": [...]}`, in ASCII, so that a lone
surrogate is kept as it is. What is read equals what was written, in every field.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from tooln1_agent.datasets.form_file import read_file
from tooln1_agent.datasets.imports import ImportReport, Tally
from tooln1_agent.datasets.rows import NOT_OF_FORM, Skipped
from tooln1_agent.errors import LabelRefused, RowRefused, UnknownRecord
from tooln1_agent.examples import LabelEvent
from tooln1_agent.replay.rows import label_json, to_json
from tooln1_agent.replay.store import ReplayStore
from tooln1_agent.transcript import Interaction

FORM, VERSION = "tooln1", 1
NOT_A_RECORD = "not a record of ours"
OTHER_CONTENT = "its id is in the store with other content"
LABEL_REFUSED = "a label is refused"


class Record(BaseModel):
    """An interaction and the labels on its turns."""

    model_config = ConfigDict(frozen=True)

    interaction: Interaction
    labels: tuple[LabelEvent, ...]

    @model_validator(mode="after")
    def _labels_are_its_own(self) -> Self:
        strangers = {label.interaction for label in self.labels} - {self.interaction.id}
        if strangers:
            raise ValueError(f"a label on another interaction, {min(strangers)!r}")
        return self


def record_line(interaction: Interaction, labels: Iterable[LabelEvent]) -> str:
    """Write a record on one line, without a line break."""
    body = {**interaction.model_dump(), "created_at": interaction.created_at.isoformat()}
    head = f'{{"form":"{FORM}","version":{VERSION}'
    listed = ",".join(map(label_json, labels))
    return f'{head},"interaction":{to_json(body)},"labels":[{listed}]}}'


def read_records(path: str | Path) -> Iterator[Record | Skipped]:
    """Yield the records of a file; a line that is none is yielded with its reason and place.

    Raises:
        DataError: the file cannot be read, or none of its first lines is of this form.
    """
    return read_file(path, _read, form=FORM, allow_nan=True)


def import_records(store: ReplayStore, records: Iterable[Record | Skipped]) -> ImportReport:
    """Add interactions with their turns and labels; what is there already stays as it is.

    Doing it again adds only labels that were given since.
    """
    added = known = interactions = 0
    tally = Tally()
    for record in records:
        if isinstance(record, Skipped):
            tally.add(record)
            continue
        interaction, labels = record.interaction, record.labels
        if not store.has(interaction.id):
            store.begin(interaction)
            interactions += 1
        elif store.interaction(interaction.id) != interaction:
            tally.add(Skipped(OTHER_CONTENT, "", interaction.id))
            continue
        there = list(store.labels(interaction.id))
        for label in labels:
            if label in there:
                there.remove(label)  # the same word may have been given twice
                known += 1
                continue
            try:
                store.add_label(label)
            except (LabelRefused, UnknownRecord) as error:
                tally.add(Skipped(LABEL_REFUSED, str(error), interaction.id))
                continue
            added += 1
    return ImportReport(
        added,
        known,
        skipped=dict(tally.counts),
        first_skipped=tuple(tally.first),
        interactions=interactions,
    )


def _read(value: dict[str, Any]) -> Iterator[Record]:
    if value.get("form") != FORM:
        raise RowRefused(NOT_OF_FORM, f'"form": expected {FORM!r}, got {value.get("form")!r:.80}')
    if value.get("version") != VERSION:
        raise RowRefused(
            NOT_OF_FORM,
            f'"version": this package reads {VERSION}, got {value.get("version")!r:.80}',
        )
    try:
        yield Record.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise RowRefused(NOT_A_RECORD, f"{where}: {first['msg']}") from error
