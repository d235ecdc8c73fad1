"""Files that are whole or absent, whatever instant the process or the machine dies at.

POSIX only: it rests on atomic `rename` within a file system, `fsync` of files and directories,
and `flock`, which the kernel drops with the process that held it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO


def write_whole(path: Path, text: str, *, scratch: Path | None = None) -> None:
    """Replace a file's contents at once; readers see the old text or the new, never a part.

    Args:
        scratch: directory, on the same file system, for the temporary file; by default the
            file's own.
    """
    temporary = (scratch or path.parent) / f".tmp-{os.getpid()}-{path.name}"
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_dir(path.parent)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a file to write that takes the place of `path` when the block ends, if it ends well.

    Otherwise `path` stays as it was, and nothing is left of what was written.
    """
    temporary = path.parent / f".tmp-{os.getpid()}-{path.name}"
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_dir(path.parent)


def copy_synced(source: Path, destination: Path) -> None:
    """Copy a file's contents and wait until they are on disk."""
    with source.open("rb") as read, destination.open("xb") as write:
        while chunk := read.read(1 << 20):
            write.write(chunk)
        write.flush()
        os.fsync(write.fileno())


def append_line(path: Path, line: str) -> None:
    """Append one line and wait until it is on disk; a torn last line is cut off first.

    Call it under a lock. A line can only be torn by a crash in the middle of its own append.
    """
    assert "\n" not in line
    fresh = not path.exists()
    with path.open("ab+") as file:
        file.seek(0)
        kept = file.read().rfind(b"\n") + 1
        file.truncate(kept)
        file.write(f"{line}\n".encode())
        file.flush()
        os.fsync(file.fileno())
    if fresh:
        sync_dir(path.parent)


def whole_lines(path: Path) -> list[str]:
    """Return the lines that were appended to their end; none where the file is absent."""
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8", errors="replace")
    return text.split("\n")[:-1]  # not splitlines: a JSON string may hold other ends of lines


def sync_dir(path: Path) -> None:
    """Wait until a directory's entries (what was created, renamed, removed) are on disk."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def exclusive(file: IO[Any]) -> Iterator[None]:
    """Hold a lock on an open file; other threads and processes that want it wait meanwhile."""
    fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)
