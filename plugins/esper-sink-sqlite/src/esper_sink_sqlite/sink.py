"""Write events to a SQLite file.

A configuration, which may come from somebody else, can name the file. So a file that is no database of events is not
written to, and of a file of several runs nothing but the run's own events is ever cut.
"""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from esper_core.api import EsperError, Event
from esper_runs.event_database import EventRows, create_tables, encodable, forget_from, is_event_database
from esper_runs.event_search import DATABASE
from esper_runs.log_file import open_log, own_directory
from esper_sink_sqlite.config import SqliteConfig

#: How the file may be called outside of the run's directory.
ENDINGS = (".sqlite", ".sqlite3", ".db")

#: Seconds that a write waits for somebody else's lock. The training waits as long.
_PATIENCE = 1.0


class SqliteSink:
    """A sink that adds events to a table. A batch is one transaction: all of it is there, or nothing.

    Args:
        config: where and how to write.
    """

    reads_only = True

    def __init__(self, config: SqliteConfig) -> None:
        self._config = config
        self._connection: sqlite3.Connection | None = None
        self._rows = EventRows("")

    def open(self, manifest: Mapping[str, Any]) -> None:
        """Open the file, and make it if it is missing.

        Raises:
            EsperError: E504 if there is nowhere to write, the file cannot be written, it is no database of events, or
                it holds a run of this name already.
        """
        path, name = self._path(manifest), str(manifest.get("name"))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            inside = own_directory(path, manifest.get("directory"))
            self._connection = _connect(path, inside, synchronous="FULL" if self._config.fsync else "NORMAL")
            with _transaction(self._connection):
                self._begin(self._connection, name, manifest.get("resumed_at"), own=inside is not None)
        except (OSError, sqlite3.Error) as error:
            self.close()
            what = f'the sink "sqlite" cannot write "{path}"'
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise EsperError("E504", what, why=why, fix="set sinks.sqlite.path to a new file") from error
        self._rows = EventRows(name)

    def emit(self, events: Sequence[Event]) -> None:
        """Add all of the events, or none.

        Raises:
            RuntimeError: before `open` and after `close`.
            sqlite3.Error: if the disk is full, or the file is locked for longer than a second.
            TypeError: if an event cannot be converted to plain data.
        """
        if self._connection is None:
            raise RuntimeError('the sink "sqlite" is not open')
        with _transaction(self._connection):
            self._rows.insert(self._connection, events)

    def flush(self) -> None:
        """Do nothing: what was emitted is visible."""

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _path(self, manifest: Mapping[str, Any]) -> Path:
        if self._config.path is not None:
            return Path(self._config.path).expanduser().absolute()
        if manifest.get("directory") is None:
            what = 'the sink "sqlite" has nowhere to write'
            raise EsperError("E504", what, why="the run has no directory", fix="set sinks.sqlite.path")
        return Path(manifest["directory"]).absolute() / DATABASE

    def _begin(self, connection: sqlite3.Connection, name: str, resumed_at: int | None, *, own: bool) -> None:
        runs = [run for (run,) in connection.execute("SELECT DISTINCT run FROM events")]
        if resumed_at is None:
            if encodable(name) in runs:
                raise OSError(f'it holds a run "{name}" already')
            return
        if own and len(runs) == 1:  # the run may have been renamed
            connection.execute("UPDATE events SET run = ?", (encodable(name),))
        forget_from(connection, name, resumed_at)


def _connect(path: Path, inside: Path | None, *, synchronous: str) -> sqlite3.Connection:
    # Looks whether it may be written to, and makes it.
    open_log(path, inside=inside, endings=ENDINGS).close()
    for beside in (path.with_name(path.name + end) for end in ("-wal", "-shm", "-journal")):
        if beside.is_symlink():
            raise OSError(f'"{beside.name}" is a symbolic link')
    # Calls come one after the other, but not always from one thread.
    connection = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA trusted_schema = OFF")
        if connection.execute("PRAGMA page_count").fetchone()[0] == 0:
            # Readers see whole batches and hold up no writer; a process that is killed leaves a valid file.
            connection.execute("PRAGMA journal_mode = WAL")
            with _transaction(connection):
                create_tables(connection)
        elif not is_event_database(connection):
            raise OSError("it is no database of events, or one of another version")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
    except (OSError, sqlite3.Error):
        connection.close()
        raise
    return connection


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing, also if a call is interrupted, or the disk is full only when all is written."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
