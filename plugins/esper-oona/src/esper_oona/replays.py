"""What has been accepted already, so that a message that somebody publishes again is not handled again."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from attrs import frozen

from esper_core.leyline.errors import EsperError
from esper_oona.sqlite_files import SharedFile

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS accepted ("
    " scope TEXT NOT NULL, id TEXT NOT NULL, place TEXT NOT NULL, until REAL NOT NULL, PRIMARY KEY (scope, id)"
    ") WITHOUT ROWID, STRICT",
    "CREATE INDEX IF NOT EXISTS accepted_until ON accepted (until)",
)


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
        path: the file, which is made for its owner only; None remembers in memory only.

    Raises:
        EsperError: E611, by every method, if the file cannot be used, such as on a full disk. A subscriber asks again,
            as for a bus that does not answer: what cannot be remembered must not be handled.
    """

    def __init__(self, path: Path | None) -> None:
        place = ":memory:" if path is None else path
        self._file = SharedFile(place, partial(_unusable, str(place)), _SCHEMA)

    def admit(self, scope: str, messages: Sequence[Accepted], now: float) -> list[bool]:
        """Remember messages, and say of each whether it is none that was accepted at another place.

        Args:
            scope: the group; each group handles a message once.
        """
        with self._file.transaction() as sql:
            sql.execute("DELETE FROM accepted WHERE until < ?", (now,))
            written = sql.executemany(
                "INSERT OR IGNORE INTO accepted VALUES (?, ?, ?, ?)",
                [(scope, it.id, it.place, it.until) for it in messages],
            ).rowcount
            if written == len(messages):  # Which is so for nearly every batch.
                return [True] * written
            found = [
                sql.execute("SELECT place FROM accepted WHERE scope = ? AND id = ?", (scope, it.id)).fetchone()
                for it in messages
            ]
        # A message that has expired since it was judged is not remembered; it is in time by the width of this moment.
        return [row is None or row[0] == it.place for row, it in zip(found, messages, strict=True)]

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _unusable(path: str, why: str) -> EsperError:
    return EsperError("E611", "what was accepted already cannot be remembered", where=path, why=why)
