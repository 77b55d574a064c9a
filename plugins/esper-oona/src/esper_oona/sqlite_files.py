"""SQLite files that several processes use."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from esper_core.leyline.errors import EsperError

#: What SQLite says while another process has the file; the other bits of its codes say more.
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)

#: So long a process waits for a file that another one holds.
WAIT_SECONDS = 30.0


def begin_journal(connection: sqlite3.Connection, journal: str = "wal", wait_seconds: float = WAIT_SECONDS) -> str:
    """Have SQLite keep its transactions in a journal of this kind, and return the kind that the file has then.

    Of several processes that open a new file at once, SQLite tells all but one that it is locked, and does so at once,
    whatever the connection's timeout: so it is asked again.

    Raises:
        sqlite3.OperationalError: if the file is still locked after that time, or cannot be used.
    """
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            (found,) = connection.execute(f"PRAGMA journal_mode = {journal}").fetchone()
        except sqlite3.OperationalError as error:
            # A damaged file is told by the same class, and does not mend by waiting.
            if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _BUSY or time.monotonic() > deadline:
                raise
            threading.Event().wait(0.01)
        else:
            return str(found)


class SharedFile:
    """A file with tables; may be used by several threads and processes.

    Args:
        path: of the file, which is made for its owner only where it is not there; or ``:memory:``.
        unusable: makes the error that says why the file cannot be used.
        schema: statements that make the tables where they are not there.
        version: of the schema; a file of another one is refused. None: files have none.
        journal: how SQLite keeps a transaction, as in `begin_journal`.
        synchronous: SQLite's setting for what a transaction that is over survives.

    Raises:
        EsperError: made by `unusable`, by every method, if the file cannot be used.
    """

    def __init__(
        self,
        path: Path | str,
        unusable: Callable[[str], EsperError],
        schema: Iterable[str],
        *,
        version: int | None = None,
        journal: str = "wal",
        synchronous: str = "NORMAL",
    ) -> None:
        self._unusable = unusable
        self._lock = threading.RLock()
        with self._reported():
            if isinstance(path, Path) and not path.exists():
                path.touch(mode=0o600)
            self._sql = sqlite3.connect(path, timeout=WAIT_SECONDS, isolation_level=None, check_same_thread=False)
            try:
                self._begin(schema, version, journal, synchronous)
            except BaseException:
                # Open, it would hold what the next one to open the file needs.
                self._sql.close()
                raise

    @property
    def connection(self) -> sqlite3.Connection:
        """What SQLite has of it."""
        return self._sql

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Hold the one lock for writing: what is done inside is kept, all of it or nothing."""
        with self._lock, self._reported():
            self._sql.execute("BEGIN IMMEDIATE")
            try:
                yield self._sql
            except BaseException:
                self._sql.rollback()
                raise
            self._sql.commit()

    def rows(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Read."""
        with self._lock, self._reported():
            return self._sql.execute(query, values).fetchall()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._sql.close()

    def _begin(self, schema: Iterable[str], version: int | None, journal: str, synchronous: str) -> None:
        found = begin_journal(self._sql, journal)
        if found not in (journal, "memory"):
            raise self._unusable(f"its journal cannot be of the kind {journal}: it is {found}")
        self._sql.execute(f"PRAGMA synchronous = {synchronous}")
        with self.transaction() as sql:
            (present,) = sql.execute("PRAGMA user_version").fetchone()
            if version is not None and present not in (0, version):
                raise self._unusable(f"its format is {present}, and this Esper reads {version}")
            for statement in schema:
                sql.execute(statement)
            if version is not None:
                sql.execute(f"PRAGMA user_version = {version}")

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, UnicodeDecodeError) as error:
            # Of a damaged file, what SQLite says may itself not be text.
            raise self._unusable(str(error)) from error
