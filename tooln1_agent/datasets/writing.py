"""Writes rows to a file that is whole or absent: JSON Lines, plain or gzip, or parquet."""

from __future__ import annotations

import gzip
import importlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, cast

from tooln1_agent.durable import replacing
from tooln1_agent.errors import ConfigError, DataError

_BATCH = 1000


def write_lines(path: Path, lines: Iterable[str]) -> int:
    """Write lines, with gzip if the name ends in .gz; return how many.

    Raises:
        ConfigError: the file cannot be written.
        DataError: there are no lines; nothing is written.
    """
    count = 0
    with _replacing(path) as file, _compressed(path, file) as packed:
        for line in lines:
            packed.write(f"{line}\n".encode())
            count += 1
        _refuse_nothing(path, count)
    return count


def write_parquet(path: Path, rows: Iterable[dict[str, Any]]) -> int:
    """Write rows that all have the same columns, none of them None; return how many.

    Raises:
        ConfigError: pyarrow is not installed, or the file cannot be written.
        DataError: there are no rows; nothing is written.
    """
    arrow, parquet = _pyarrow()
    count = 0
    with _replacing(path) as file, ExitStack() as closing:
        writer: Any = None
        for batch in _batches(rows):
            table = arrow.Table.from_pylist(batch, schema=writer.schema if writer else None)
            if writer is None:
                writer = closing.enter_context(parquet.ParquetWriter(file, table.schema))
            writer.write_table(table)
            count += len(batch)
        _refuse_nothing(path, count)
    return count


def _pyarrow() -> tuple[Any, Any]:
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ModuleNotFoundError as error:
        raise ConfigError(
            "writing parquet needs the package 'pyarrow', which is not installed; run "
            "`pip install pyarrow`, or write JSON lines"
        ) from error


def _batches(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    left = iter(rows)
    while batch := list(islice(left, _BATCH)):
        yield batch


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    if not path.parent.is_dir():
        raise ConfigError(f"there is no directory {str(path.parent)!r} to write {path.name!r} into")
    try:
        with replacing(path) as file:
            yield file
    except OSError as error:
        raise ConfigError(f"cannot write {str(path)!r}: {error}") from error


@contextmanager
def _compressed(path: Path, file: BinaryIO) -> Iterator[BinaryIO]:
    if path.suffix != ".gz":
        yield file
        return
    with gzip.GzipFile(path.name[:-3], "wb", fileobj=file, mtime=0) as packed:
        yield cast("BinaryIO", packed)


def _refuse_nothing(path: Path, count: int) -> None:
    if not count:
        raise DataError(f"there is nothing to write, so {str(path)!r} was left as it is")
