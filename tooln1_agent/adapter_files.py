"""One adapter's directory: which files it may hold, the hash they add up to, its record.

An adapter comes from a trainer and is loaded into a serving process, so only data is let in:
safetensors and JSON, plain files, no directories and no links.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from tooln1_agent.errors import AdapterError

REQUIRED = ("adapter_config.json", "adapter_model.safetensors")
"""What a directory in peft's layout must hold."""
RECORD, GATE_REPORT = "adapter.json", "gate.json"
VERSION = re.compile(r"v(\d{4,})-([0-9a-f]{12})", re.ASCII)

_ALLOWED_SUFFIXES = frozenset({".json", ".safetensors"})
_OURS = frozenset({RECORD, GATE_REPORT})
_LEFT_OUT = frozenset({"README.md"})  # peft writes a model card beside what it saves


class Adapter(BaseModel):
    """One immutable version of LoRA weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    """`v<number>-<first 12 hex digits of the content hash>`; never used twice."""
    path: Path
    """Where it lies now; not part of the stored record."""
    base_model: str
    parent: str | None = None
    """The version that training started from; None is the base model alone."""
    prompt_version: str
    trained_on: dict[str, JsonValue] = Field(default_factory=dict)
    """Summary of the examples it learned from: counts by source and tool, seed, steps."""
    config_hash: str = ""
    created_at: datetime

    @property
    def number(self) -> int:
        """The number in its version."""
        return number_of(self.version)


def number_of(version: str) -> int:
    """Return the number in a version."""
    match = VERSION.fullmatch(version)
    if match is None:
        raise AdapterError(
            f"{version!r} is not an adapter version; expected the form 'v0007-0123456789ab'"
        )
    return int(match[1])


def content_names(directory: Path) -> tuple[str, ...]:
    """Return the names of the files that make up an adapter, sorted.

    Raises AdapterError where one is missing or something else than data is among them.
    """
    if not directory.is_dir():
        raise AdapterError(f"no adapter directory at {str(directory)!r}")
    names = []
    for path in sorted(directory.iterdir()):
        if path.name in _OURS or path.name in _LEFT_OUT:
            continue
        if path.suffix not in _ALLOWED_SUFFIXES or path.is_symlink() or not path.is_file():
            raise AdapterError(
                f"{path.name!r} in {str(directory)!r} does not belong in an adapter: only plain "
                ".safetensors and .json files are taken, since other formats can run code when "
                "they are loaded; save with safetensors and remove it"
            )
        names.append(path.name)
    if missing := [name for name in REQUIRED if name not in names]:
        raise AdapterError(
            f"{str(directory)!r} lacks {' and '.join(missing)}; expected an adapter as peft's "
            "`save_pretrained` writes it"
        )
    return tuple(names)


def content_hash(directory: Path, names: Sequence[str]) -> str:
    """Hash files by name and bytes; returns 64 hex digits (SHA-256)."""
    total = hashlib.sha256()
    for name in names:
        with (directory / name).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        total.update(f"{name}\0{digest}\n".encode())
    return total.hexdigest()


def signature(directory: Path) -> tuple[Any, ...]:
    """Return what changes whenever a file of the directory is written anew, cheap to read."""
    stats = ((path.name, path.stat()) for path in sorted(directory.iterdir()))
    return tuple((name, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for name, s in stats)


def check_content(directory: Path) -> None:
    """Raise AdapterError unless the files still have the hash that the directory's name says."""
    try:
        found = content_hash(directory, content_names(directory))[:12]
    except AdapterError as error:
        raise AdapterError(f"adapter {directory.name!r} is damaged: {error}") from error
    if found != directory.name[-12:]:
        raise AdapterError(
            f"adapter {directory.name!r} is damaged: its files hash to {found!r}; restore "
            f"{str(directory)!r} from a backup, or roll back and remove it"
        )


def read_record(directory: Path) -> Adapter:
    """Read `adapter.json`; raises AdapterError where it is missing, damaged or of another."""
    try:
        raw = (directory / RECORD).read_bytes()
        adapter = _Record.model_validate_json(raw).at(directory)
    except (OSError, ValidationError) as error:
        raise AdapterError(
            f"adapter {directory.name!r} is damaged: its {RECORD} cannot be read ({error}); "
            f"restore {str(directory)!r} from a backup, or remove it"
        ) from error
    if adapter.version != directory.name:
        raise AdapterError(
            f"{str(directory)!r} holds the record of {adapter.version!r}; a version cannot be "
            "renamed, move it back"
        )
    return adapter


class _Record(Adapter):
    """`adapter.json`: everything but the place it lies at."""

    path: Path = Field(default=Path(), exclude=True)

    def at(self, directory: Path) -> Adapter:
        return Adapter.model_validate({**self.model_dump(), "path": directory})
