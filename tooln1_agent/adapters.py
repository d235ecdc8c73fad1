"""The adapters of one deployment: immutable versions, and the pointer to the one that is live.

    root/v0001-<hash12>/   adapter_config.json, adapter_model.safetensors, adapter.json, gate.json
    root/live.json, history.jsonl   the pointer and its moves (see `live_pointer`)
    root/.lock             held while anything changes; readers never wait for it
    root/.last-number      the highest version number ever given out
    root/.staging-*/       an adapter on its way in, or what a crash left of one

A version's hash is over the names and bytes of its files, so a version never changes its meaning
and an engine may cache by it.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import EllipsisType
from typing import Any

from tooln1_agent.adapter_files import (
    GATE_REPORT,
    RECORD,
    VERSION,
    Adapter,
    check_content,
    content_hash,
    content_names,
    number_of,
    read_record,
    signature,
)
from tooln1_agent.durable import copy_synced, exclusive, sync_dir, write_whole
from tooln1_agent.errors import AdapterError
from tooln1_agent.live_pointer import LivePointer, Move

__all__ = ["Adapter", "AdapterStore", "Move"]


class AdapterStore:
    """Keeps adapters under one root directory. Safe for many processes at once."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self._pointer = LivePointer(self.root)
        self._checked: dict[str, tuple[Any, ...]] = {}

    def list(self) -> tuple[Adapter, ...]:
        """Return all adapters, oldest first. Their weights are not read; `get` checks them."""
        return tuple(read_record(self.root / version) for version in self._versions())

    def get(self, version: str) -> Adapter:
        """Return an adapter after checking that its files are what its version says.

        Files that have not changed since this store last checked them are not read again.
        Raises AdapterError where the adapter is missing or damaged.
        """
        path = self.root / version
        if not VERSION.fullmatch(version) or not path.is_dir():
            newest = ", ".join(self._versions()[-5:])
            raise AdapterError(
                f"no adapter {version!r} in {str(self.root)!r}; the newest there: "
                f"{newest or 'none yet (`tooln1-agent retrain` makes one)'}"
            )
        adapter = read_record(path)
        now = signature(path)
        if self._checked.get(version) != now:
            check_content(path)
            self._checked[version] = now
        return adapter

    def live(
        self, base_model: str | None = None, *, prompt_version: str | None = None
    ) -> Adapter | None:
        """Return the live adapter; None is the base model alone.

        Raises AdapterError where it is missing, damaged or, of what is given, for another.
        """
        version = self.live_version()
        if version is None:
            return None
        adapter = self.get(version)
        self.check_fits(
            adapter,
            base_model=base_model or adapter.base_model,
            prompt_version=prompt_version or adapter.prompt_version,
        )
        return adapter

    def live_version(self) -> str | None:
        """Return the name of the live version; reads one small file and checks nothing."""
        return self._pointer.read().version

    def history(self) -> tuple[Move, ...]:
        """Return every move of the live pointer, oldest first."""
        return self._pointer.history()

    @staticmethod
    def check_fits(adapter: Adapter, *, base_model: str, prompt_version: str) -> None:
        """Raise AdapterError unless the adapter was trained on this base and these prompts."""
        if adapter.base_model != base_model:
            raise AdapterError(
                f"adapter {adapter.version!r} was trained on base model {adapter.base_model!r}, "
                f"but {base_model!r} is in use here; use that model, or keep the adapters of this "
                "one in a directory of their own"
            )
        if adapter.prompt_version != prompt_version:
            raise AdapterError(
                f"adapter {adapter.version!r} was trained on prompts of version "
                f"{adapter.prompt_version!r}, but {prompt_version!r} are written here, on which "
                "it was never tested; let the model's directory name the renderer that it was "
                "trained with (docs/prompts.md), or train anew with --from base"
            )

    def add(
        self,
        staging_dir: str | Path,
        *,
        base_model: str,
        parent: str | None,
        prompt_version: str,
        trained_on: dict[str, Any],
        config_hash: str,
    ) -> Adapter:
        """Copy a trained adapter in under a new version; it does not go live.

        Killed at any instant, this leaves a whole adapter or none.

        Args:
            staging_dir: what peft's `save_pretrained` wrote; it is only read.

        Raises AdapterError where a file is missing or is neither safetensors nor JSON.
        """
        source = Path(staging_dir)
        names = content_names(source)
        with self.locked():
            self._sweep()
            staging = self.root / f".staging-{uuid.uuid4().hex}"
            staging.mkdir()
            for name in names:
                copy_synced(source / name, staging / name)
            number, digest = self._take_number(), content_hash(staging, names)
            adapter = Adapter(
                version=f"v{number:04d}-{digest[:12]}",
                path=self.root / f"v{number:04d}-{digest[:12]}",
                base_model=base_model,
                parent=parent,
                prompt_version=prompt_version,
                trained_on=trained_on,
                config_hash=config_hash,
                created_at=datetime.now(UTC),
            )
            write_whole(staging / RECORD, adapter.model_dump_json(exclude={"path"}, indent=2))
            staging.rename(adapter.path)
            sync_dir(self.root)
        return adapter

    def attach_gate_report(self, version: str, text: str) -> None:
        """Keep a gate report (JSON) beside its adapter; the newest one stays."""
        with self.locked():
            write_whole(self.get(version).path / GATE_REPORT, text, scratch=self.root)

    def promote(
        self,
        version: str | None,
        *,
        reason: str,
        who: str | None = None,
        replacing: str | EllipsisType | None = ...,
    ) -> None:
        """Make a version live for every process at once; None goes back to the base model alone.

        Promoting what is live already changes nothing.

        Args:
            who: whom the history names; the user of this process if not given.
            replacing: if given, the version that has to be live now, since a gate's verdict
                holds only against the version it was reached against.

        Raises AdapterError where the version is missing or damaged, or `replacing` is not live.
        """
        with self.locked():
            now = self.live_version()
            if replacing is not ... and now != replacing:
                raise AdapterError(
                    f"{_name(version)} was to replace {_name(replacing)}, but {_name(now)} is "
                    "live by now; run the gate again"
                )
            if version == now:
                return
            if version is not None:
                self.get(version)
            self._pointer.promote(version, reason=reason, who=who)

    def rollback(self, *, reason: str = "rolled back", who: str | None = None) -> Adapter | None:
        """Make live again what was live before (None: the base model alone), and return it.

        Doing it again goes back further. Raises AdapterError where nothing was live before, or
        where what was live then is missing or damaged.
        """
        with self.locked():
            now = self._pointer.read()
            if not now.earlier:
                raise AdapterError(
                    f"nothing was live before {_name(now.version)} in {str(self.root)!r}; "
                    "promote a version by its name"
                )
            version = now.earlier[-1]
            adapter = None if version is None else self.get(version)
            self._pointer.roll_back(reason=reason, who=who)
        return adapter

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep every other writer of this directory out; makes the directory if need be."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            lock = (self.root / ".lock").open("ab")
        except OSError as error:
            raise AdapterError(
                f"cannot keep adapters in {str(self.root)!r}: {error.strerror}; "
                "give a directory that can be written"
            ) from error
        with lock, exclusive(lock):
            yield

    def _versions(self) -> tuple[str, ...]:
        names = (path.name for path in self.root.glob("v*") if path.is_dir())
        return tuple(sorted(filter(VERSION.fullmatch, names), key=number_of))

    def _take_number(self) -> int:
        """Return the next version number; a removed adapter's is not given out again."""
        counter = self.root / ".last-number"
        given = int(counter.read_text()) if counter.exists() else 0
        number = 1 + max([given, *map(number_of, self._versions())])
        write_whole(counter, str(number))
        return number

    def _sweep(self) -> None:
        """Remove what crashed writers left; the lock says that none of them is alive."""
        for leftover in self.root.glob(".staging-*"):
            shutil.rmtree(leftover)
        for leftover in self.root.glob(".tmp-*"):
            leftover.unlink()


def _name(version: str | None) -> str:
    return "the base model alone" if version is None else repr(version)
