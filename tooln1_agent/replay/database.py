"""One SQLite connection for one store: opened with our settings, locked, errors translated.

Threads share the connection under a lock. Every use is short (a read fetches its rows at once, a
write is one small transaction), so a thread waits for microseconds; a connection per thread would
gain little, leak with short-lived threads, and not work for ":memory:". Between processes SQLite's
WAL lets readers and one writer work at the same time, and `busy_timeout` makes writers queue.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tooln1_agent.errors import StoreError
from tooln1_agent.replay.schema import migrate

BUSY_TIMEOUT_S = 30.0
"""How long a writer waits for the writers of other processes."""


class Connection:
    """A locked SQLite connection that raises only `StoreError`.

    Durability: WAL with `synchronous=NORMAL`. A committed transaction survives the death of any
    process (kill -9 included). After a power loss or a crash of the operating system the file is
    consistent, but the last transactions since a checkpoint may be missing.
    """

    def __init__(self, path: str | Path, *, create: bool = True) -> None:
        self.path = str(path)
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._open = False
        if self.path != ":memory:":
            _check_path(Path(path), create=create)
        with self._translated():
            self._sqlite = sqlite3.connect(
                self.path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
            self._open = True
            try:
                self._set_up()
            except BaseException:
                self.close()
                raise

    def _set_up(self) -> None:
        # Looked at first: a file of something else is to be refused, not switched to WAL.
        self._sqlite.execute("SELECT count(*) FROM sqlite_master").fetchone()
        migrate(self._sqlite, path=self.path)
        _switch_to_wal(self._sqlite)
        self._sqlite.execute("PRAGMA synchronous = NORMAL")
        self._sqlite.execute("PRAGMA foreign_keys = ON")

    def close(self) -> None:
        """Close the connection; closing it again does nothing."""
        if self._pid != os.getpid():
            return
        with self._lock:
            if self._open:
                self._sqlite.close()
            self._open = False

    def read(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """Return all rows of a query."""
        self._check_process()
        with self._lock, self._translated():
            self._check_open()
            return self._sqlite.execute(sql, parameters).fetchall()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Hold the write lock for the block; what it wrote is there whole, or not at all."""
        self._check_process()
        with self._lock, self._translated():
            self._check_open()
            self._sqlite.execute("BEGIN IMMEDIATE")
            try:
                yield self._sqlite
                self._sqlite.execute("COMMIT")
            except BaseException:
                if self._sqlite.in_transaction:
                    self._sqlite.execute("ROLLBACK")
                raise

    def rewrite(self) -> bool:
        """Write the file anew and empty its log, so that nothing that was deleted is left in them.

        Returns False where another process reads the old state, so that the log had to stay.
        """
        self._check_process()
        with self._lock, self._translated():
            self._check_open()
            self._sqlite.execute("VACUUM")
            blocked: int = self._sqlite.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            return not blocked

    def _check_process(self) -> None:
        # Before the lock is taken: a fork may have copied it while another thread held it.
        if self._pid != os.getpid():
            raise StoreError(
                f"the replay store {self.path!r} was opened before this process was forked; "
                "open it again in the new process"
            )

    def _check_open(self) -> None:
        if not self._open:
            raise StoreError(f"the replay store {self.path!r} is closed; open it again")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(_explain(self.path, error)) from error
        except UnicodeEncodeError as error:
            raise StoreError(
                f"{error.object!r:.200} is not valid Unicode (half of a surrogate pair); names and "
                f"ids in the replay store {self.path!r} must be"
            ) from error


def _check_path(path: Path, *, create: bool) -> None:
    if path.is_dir():
        raise StoreError(f"{str(path)!r} is a directory; give the path of a file")
    if not path.exists() and not create:
        raise StoreError(
            f"there is no replay store at {str(path)!r}; give the path that the server was "
            "started with (--store)"
        )
    if not path.parent.is_dir():
        raise StoreError(
            f"cannot create the replay store {str(path)!r}: there is no directory "
            f"{str(path.parent)!r}; create it first"
        )


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    """Switch the file to WAL; SQLite does not wait for others here, so we do."""
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
        time.sleep(0.005)


def _explain(path: str, error: sqlite3.Error) -> str:
    """Say what happened to the store in words an operator can act on."""
    reason = str(error)
    if "not a database" in reason or "malformed" in reason:
        advice = "it is damaged or not a replay store; restore it from a copy, or use another path"
    elif "locked" in reason:
        advice = f"another process has held its write lock for {BUSY_TIMEOUT_S:.0f} s; stop it"
    elif "readonly" in reason or "unable to open" in reason:
        advice = "check that this user may write the file and its directory"
    elif "full" in reason:
        advice = "free some disk space"
    else:
        advice = "this is a bug if the file was written by tooln1-agent alone; please report it"
    return f"the replay store {path!r} cannot be used: {reason}; {advice}"
