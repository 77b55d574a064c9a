"""The catalogue of a folder: one row for each artifact, in SQLite."""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Literal

from esper_core.api import EsperError
from esper_oona.api import WAIT_SECONDS, SharedFile

#: How SQLite keeps a transaction: `wal` for one machine; `delete` where several machines share the folder.
Journal = Literal["wal", "delete"]

_VERSION = 1

_SCHEMA = """
CREATE TABLE IF NOT EXISTS artifacts (
    digest TEXT PRIMARY KEY, sha256 TEXT NOT NULL, size INTEGER NOT NULL, manifest BLOB NOT NULL,
    saved_at REAL NOT NULL, used_at REAL NOT NULL
) WITHOUT ROWID, STRICT
"""

_NOTE_MILLISECONDS = 5

#: Uses are written down together, at most so often: where each transaction waits for the disk, a look-up would.
NOTE_SECONDS = 5.0


class Catalogue(SharedFile):
    """The catalogue; may be used by several threads and processes.

    Which artifacts were used is kept in memory, and written with the next transaction, before entries are listed, when
    the catalogue is closed, and otherwise by a use that comes `NOTE_SECONDS` after the last writing. What a dying
    process had not written makes its artifacts look a little less used.

    Raises:
        EsperError: E621, by every method, if the file cannot be used.
    """

    def __init__(self, path: Path, journal: Journal) -> None:
        self._uses: dict[str, float] = {}
        self._noted_at = time.monotonic()
        if path.is_symlink():
            raise unusable("its catalogue is a link", path)
        synchronous = "NORMAL" if journal == "wal" else "FULL"
        made = partial(unusable, path=path)
        super().__init__(path, made, [_SCHEMA], version=_VERSION, journal=journal, synchronous=synchronous)
        with self._reported():
            self._file = path.lstat()

    def is_at(self, path: Path) -> bool:
        """Say whether the file is the one at a path: it may have been removed, and another one made."""
        try:
            return os.path.samestat(self._file, path.lstat())
        except OSError:
            return False

    def forget(self) -> None:
        """Close a file that was removed; there is nowhere to write down what was used."""
        super().close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """As of any such file; what was used is written with it."""
        with self._lock:
            with super().transaction() as sql:
                self._write_uses()
                yield sql
            self._uses.clear()

    def used(self, digest: str, now: float) -> None:
        """Remember that an artifact was used."""
        with self._lock:
            self._uses[digest] = now
            due = time.monotonic() - self._noted_at >= NOTE_SECONDS
        if due:
            self.note()

    def note(self) -> None:
        """Write down which artifacts were used, unless that would have to wait for others: a look-up shall not."""
        with self._lock, self._reported():
            self._noted_at = time.monotonic()
            if not self._uses:
                return
            self._sql.execute(f"PRAGMA busy_timeout = {_NOTE_MILLISECONDS}")
            try:
                with self.transaction():
                    pass
            except EsperError as error:
                code = getattr(error.__cause__, "sqlite_errorcode", None)
                if code not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_READONLY):
                    raise
            finally:
                self._sql.execute(f"PRAGMA busy_timeout = {WAIT_SECONDS * 1000:.0f}")

    def close(self) -> None:
        """Write down what was used, and close the file."""
        with self._lock:
            try:
                self.note()
            finally:
                super().close()

    def _write_uses(self) -> None:
        """Within a transaction; another process may have noted a later use."""
        if uses := [(now, digest) for digest, now in self._uses.items()]:
            self._sql.executemany("UPDATE artifacts SET used_at = max(used_at, ?) WHERE digest = ?", uses)


def unusable(why: str, path: Path, fix: str | None = None) -> EsperError:
    """Return the error that says why a store cannot be used."""
    usual = "name another folder; a store that is damaged can be removed: what it had is made again"
    return EsperError("E621", "a store cannot be used", where=str(path), why=why, fix=fix or usual)
