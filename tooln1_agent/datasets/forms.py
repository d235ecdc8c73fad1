"""The forms of data set that can be read."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

from tooln1_agent.datasets.benchmark import read_bfcl
from tooln1_agent.datasets.form_file import Reader, read_file
from tooln1_agent.datasets.openai_chat import read_openai
from tooln1_agent.datasets.rows import DOES_NOT_FIT, BenchmarkRow, Skipped
from tooln1_agent.datasets.sharegpt import read_sharegpt
from tooln1_agent.datasets.toolace import read_toolace
from tooln1_agent.datasets.xlam import read_xlam
from tooln1_agent.replay.labels import target_problem

Form = Literal["bfcl", "api-bank", "xlam", "toolace", "openai", "sharegpt"]

FORMS: dict[Form, Reader[BenchmarkRow]] = {
    "bfcl": read_bfcl,
    "api-bank": read_bfcl,
    "xlam": read_xlam,
    "toolace": read_toolace,
    "openai": read_openai,
    "sharegpt": read_sharegpt,
}


def read_rows(path: str | Path, form: Form) -> Iterator[BenchmarkRow | Skipped]:
    """Yield the rows of a file; what gives no example is yielded with its reason and place.

    Raises:
        DataError: the file cannot be read, or none of its first rows is of the form.
    """
    return read_file(path, partial(_fitting, reader=FORMS[form]), form=form)


def _fitting(
    entry: dict[str, Any], *, reader: Reader[BenchmarkRow]
) -> Iterator[BenchmarkRow | Skipped]:
    """Yield what the reader does, but a reason in place of a row that breaks its own schema."""
    for found in reader(entry):
        if isinstance(found, Skipped):
            yield found
        elif problem := target_problem(found.target, found.tools):
            yield Skipped(DOES_NOT_FIT, f"{found.id}: {problem}")
        else:
            yield found
