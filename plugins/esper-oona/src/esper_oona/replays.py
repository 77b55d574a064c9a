"""What has been accepted already, so that a message that somebody publishes again is not handled again."""

import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

from esper_oona.sqlite_files import WAIT_SECONDS, begin_journal

_SCHEMA = """
CREATE TABLE IF NOT EXISTS accepted (
    scope TEXT NOT NULL, id TEXT NOT NULL, place TEXT NOT NULL, until REAL NOT NULL, PRIMARY KEY (scope, id)
) WITHOUT ROWID, STRICT;
CREATE INDEX IF NOT EXISTS accepted_until ON accepted (until);
"""


@frozen
class Accepted:
    """A message that would be handled.

    Attributes:
        place: its stream and position.
        until: when it expires; what has expired is refused for that, and need not be remembered.
    """

    id: str
    place: str
    until: float


class Replays:
    """The ids that each group has accepted, in a file of the state directory, so that they survive a restart.

    The same id at the same place is the same message, handed out again. At another place it is a copy.

    Args:
        path: the file; None remembers in memory only.
    """

    def __init__(self, path: Path | None) -> None:
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(
            path or ":memory:", timeout=WAIT_SECONDS, isolation_level=None, check_same_thread=False
        )
        begin_journal(self._connection)
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.executescript(_SCHEMA)
        if path is not None:
            path.chmod(0o600)

    def admit(self, scope: str, messages: Sequence[Accepted], now: float) -> list[bool]:
        """Remember messages, and say of each whether it is none that was accepted at another place.

        Args:
            scope: the group; each group handles a message once.
        """
        with self._lock, self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute("DELETE FROM accepted WHERE until < ?", (now,))
            written = self._connection.executemany(
                "INSERT OR IGNORE INTO accepted VALUES (?, ?, ?, ?)",
                [(scope, it.id, it.place, it.until) for it in messages],
            ).rowcount
            if written == len(messages):  # Which is so for nearly every batch.
                return [True] * written
            found = [
                self._connection.execute(
                    "SELECT place FROM accepted WHERE scope = ? AND id = ?", (scope, it.id)
                ).fetchone()
                for it in messages
            ]
        # A message that has expired since it was judged is not remembered; it is in time by the width of this moment.
        return [row is None or row[0] == it.place for row, it in zip(found, messages, strict=True)]

    def close(self) -> None:
        """Close the file."""
        self._connection.close()
