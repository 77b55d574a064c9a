"""What must outlive the process: which runs there are, how far each consumer is in them, and what fires."""

import json
import sqlite3
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (id TEXT PRIMARY KEY, manifest TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS progress (
    consumer TEXT NOT NULL, run TEXT NOT NULL, next INTEGER NOT NULL, PRIMARY KEY (consumer, run)
) STRICT;
CREATE TABLE IF NOT EXISTS firing (
    run TEXT NOT NULL, name TEXT NOT NULL, labels TEXT NOT NULL, since REAL NOT NULL, value REAL NOT NULL,
    PRIMARY KEY (run, name, labels)
) STRICT;
"""


class Ledger:
    """A file that several threads use.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(path, timeout=30.0, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.executescript(_SCHEMA)

    def begin_run(self, run: str, manifest: Mapping[str, Any]) -> None:
        """Remember a run's manifest."""
        self._do("INSERT OR REPLACE INTO runs VALUES (?, ?)", run, json.dumps(manifest, default=str))

    def manifest(self, run: str) -> dict[str, Any] | None:
        """Return a run's manifest; None if it was never heard."""
        found = self._do("SELECT manifest FROM runs WHERE id = ?", run)
        return None if not found else dict(json.loads(found[0][0]))

    def next_of(self, consumer: str, run: str) -> int:
        """Return the number of the event that a consumer is to be shown next."""
        found = self._do("SELECT next FROM progress WHERE consumer = ? AND run = ?", consumer, run)
        return int(found[0][0]) if found else 0

    def shown(self, consumer: str, run: str, next: int) -> None:
        """Remember how far a consumer is."""
        self._do("INSERT OR REPLACE INTO progress VALUES (?, ?, ?)", consumer, run, next)

    def set_firing(self, run: str, firing: Iterable[tuple[str, Mapping[str, str], float, float]]) -> None:
        """Remember which alerts of a run fire: name, labels, since, value."""
        rows = [(run, name, json.dumps(dict(labels), sort_keys=True), *rest) for name, labels, *rest in firing]
        with self._lock, self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute("DELETE FROM firing WHERE run = ?", (run,))
            self._connection.executemany("INSERT OR REPLACE INTO firing VALUES (?, ?, ?, ?, ?)", rows)

    def firing(self, run: str) -> list[tuple[str, dict[str, str], float, float]]:
        """Return which alerts of a run fired when somebody looked last."""
        rows = self._do("SELECT name, labels, since, value FROM firing WHERE run = ?", run)
        return [(name, json.loads(labels), since, value) for name, labels, since, value in rows]

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def _do(self, statement: str, *values: Any) -> list[Any]:
        with self._lock:
            return self._connection.execute(statement, values).fetchall()
