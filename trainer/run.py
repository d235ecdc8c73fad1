"""A run's directory: its settings and a frozen copy of its examples, so that it can go on later.

runs/<name>/run.json            settings, model, where it started from, how it ended
runs/<name>/examples.jsonl      the examples it learns from, as they were when it began
runs/<name>/logged.jsonl        the logged replies that join their groups, if that was asked for
runs/<name>/metrics.jsonl       one line a step
runs/<name>/tensorboard/        the same for TensorBoard
runs/<name>/report.md           how it ended, for people (see `report`)
runs/<name>/checkpoints/        see `checkpoint`
runs/<name>/adapter/            what was trained, before it became a version
"""

from __future__ import annotations

import fcntl
import hashlib
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from tooln1_agent.durable import write_whole
from tooln1_agent.examples import Example
from trainer.config import GrpoConfig
from trainer.errors import CheckpointError
from trainer.logged import Logged

_MANIFEST, _EXAMPLES, _LOGGED = "run.json", "examples.jsonl", "logged.jsonl"


class Manifest(BaseModel):
    """What a run is, and how far it got."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    name: str
    created_at: datetime
    store: str
    base_model: str
    prompt_version: str
    tokenizer_hash: str
    parent: str | None
    """The adapter version that the run started from; None is the base alone."""
    known_until: datetime | None
    """Labels after this instant are new to the parent."""
    seen_until: datetime
    """The newest label among the run's examples."""
    config: GrpoConfig
    examples_sha256: str = ""
    logged_sha256: str = ""
    """Empty where no logged reply was asked for."""
    notes: tuple[str, ...] = ()
    """What was told of its examples when it began."""
    stopped: str | None = None
    """Why training ended; None until then."""
    adapter: str | None = None
    """The version that came of it."""
    finished: bool = False
    """Whether there is nothing left to do."""


class Run:
    """One run on disk."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest

    @property
    def checkpoints(self) -> Path:
        """Where the checkpoints lie."""
        return self.path / "checkpoints"

    @property
    def adapter_dir(self) -> Path:
        """Where the trained weights lie before they become a version."""
        return self.path / "adapter"

    def examples(self) -> list[Example]:
        """Read the frozen examples; raises CheckpointError where they are damaged."""
        lines = self._frozen(_EXAMPLES, self.manifest.examples_sha256)
        return [Example.model_validate_json(line) for line in lines]

    def logged(self) -> list[Logged]:
        """Read the frozen replies; raises CheckpointError where they are damaged."""
        if not self.manifest.logged_sha256:
            return []
        lines = self._frozen(_LOGGED, self.manifest.logged_sha256)
        return [Logged.model_validate_json(line) for line in lines]

    def _frozen(self, name: str, sha256: str) -> list[str]:
        text = (self.path / name).read_text(encoding="utf-8")
        if _sha256(text) != sha256:
            raise CheckpointError(
                f"{str(self.path / name)!r} is not what the run began with; start the "
                "training again without --resume"
            )
        return [line for line in text.split("\n") if line]  # a string may hold other line ends

    def note(self, **changes: object) -> None:
        """Change fields of the manifest, on disk too."""
        self.manifest = self.manifest.model_copy(update=changes)
        write_whole(self.path / _MANIFEST, self.manifest.model_dump_json(indent=2))

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes off the run; raises CheckpointError where one is at work on it."""
        with (self.path / ".lock").open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise CheckpointError(
                    f"another process is at work on run {self.manifest.name!r}; wait for it"
                ) from error
            yield


def create_run(
    root: Path,
    manifest: Manifest,
    examples: Sequence[Example],
    *,
    logged: Sequence[Logged] | None = None,
) -> Run:
    """Make a run's directory, whole before it gets its name.

    Args:
        logged: replies that join the groups of their examples; None where none was asked for.
    """
    frozen = {_EXAMPLES: _lines(examples)}
    hashes = {"examples_sha256": _sha256(frozen[_EXAMPLES])}
    if logged is not None:
        frozen[_LOGGED] = _lines(logged)
        hashes["logged_sha256"] = _sha256(frozen[_LOGGED])
    manifest = manifest.model_copy(update=hashes)
    root.mkdir(parents=True, exist_ok=True)
    staging = root / f".tmp-{uuid.uuid4().hex}"
    staging.mkdir()
    for name, text in frozen.items():
        write_whole(staging / name, text)
    write_whole(staging / _MANIFEST, manifest.model_dump_json(indent=2))
    return Run(staging.rename(root / manifest.name), manifest)


def known_runs(root: Path) -> list[Run]:
    """Return the runs under a directory, oldest first; what is no run is passed over."""
    found = []
    for path in sorted(root.glob("*/run.json")):
        if path.parent.name.startswith("."):
            continue
        try:
            manifest = Manifest.model_validate_json(path.read_bytes())
        except (OSError, ValidationError):
            continue
        found.append(Run(path.parent, manifest))
    return found


def unfinished_run(root: Path) -> Run:
    """Return the newest run that is not finished; raises CheckpointError where there is none."""
    for run in reversed(known_runs(root)):
        if not run.manifest.finished:
            return run
    raise CheckpointError(
        f"nothing to resume: {str(root)!r} holds no unfinished run; start one without --resume"
    )


def _lines(records: Sequence[BaseModel]) -> str:
    return "".join(f"{record.model_dump_json()}\n" for record in records)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
