"""An append-only log with groups, leases, attempts and dead letters, in one SQLite file."""

import sqlite3
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from esper_bus_sqlite.schema import BACKLOGS, BURY, DUE, HELD, NEW, OWNED, RELEASE, SCHEMA, UNFINISHED
from esper_core.api import EsperError
from esper_oona.api import Backlog, DeadLetter, Delivery, Outgoing, SharedFile, Survival, batch_limit

#: So many messages that waited for a key are handed out at once.
_RELEASED = 100


class MessageLog:
    """The bus `sqlite`, which is also the bus `memory`: see `esper_oona.api.Bus`.

    Every method is one transaction, so that a process that dies leaves all of it or nothing. Times are those of the
    machine's clock.

    Args:
        path: the file, or ``:memory:``.
        survives: what published messages survive.
        synchronous: SQLite's setting that keeps this promise.
    """

    breaker = "closed"

    def __init__(self, path: Path | str, *, survives: Survival, synchronous: str) -> None:
        self.survives = survives
        self._file = SharedFile(path, partial(_unusable, str(path)), SCHEMA.split(";\n"), synchronous=synchronous)
        self._transaction = self._file.transaction

    def publish(self, stream: str, messages: Sequence[Outgoing]) -> Sequence[int]:
        """Add messages to a stream, all or none."""
        with self._transaction() as sql:
            rows = [(stream, it.key, it.body) for it in messages]
            sql.executemany("INSERT INTO messages (stream, key, body) VALUES (?, ?, ?)", rows)
            # Nobody else adds any meanwhile, so they stand one after the other.
            (last,) = sql.execute("SELECT seq FROM sqlite_sequence WHERE name = 'messages'").fetchone() or (0,)
            return range(last - len(rows) + 1, last + 1)

    def join(self, stream: str, group: str) -> None:
        """Make a group, if there is none."""
        with self._transaction() as sql:
            self._join(sql, stream, group)

    def _join(self, sql: sqlite3.Connection, stream: str, group: str) -> int:
        cursor = "SELECT cursor FROM groups WHERE stream = ? AND name = ?"
        found = sql.execute(cursor, (stream, group)).fetchone()
        if found is None:
            sql.execute("INSERT INTO groups VALUES (?, ?, 0)", (stream, group))
        return int(found[0]) if found else 0

    def leave(self, stream: str, group: str) -> None:
        """Remove a group with all that it has not handled."""
        with self._transaction() as sql:
            for table in ("groups", "pending"):
                sql.execute(f"DELETE FROM {table} WHERE stream = ? AND name = ?", (stream, group))

    def receive(
        self, stream: str, group: str, consumer: str, *, limit: int, lease_seconds: float, attempts: int
    ) -> Sequence[Delivery]:
        """Lease messages to a consumer."""
        with self._transaction() as sql:
            now = time.time()
            cursor = self._join(sql, stream, group)
            taken = self._due(sql, stream, group, now, limit, attempts)
            most = min([limit, *(batch_limit(limit, attempt, attempts) for _, _, attempt, _ in taken)])
            taken += self._new(sql, stream, group, cursor, most - len(taken))
            sql.executemany(
                "INSERT OR REPLACE INTO pending VALUES (?, ?, ?, ?, ?, ?, ?)",
                [(stream, group, at, key, consumer, attempt + 1, now + lease_seconds) for at, key, attempt, _ in taken],
            )
            bodies = self._bodies(sql, [at for at, *_ in taken])
        return [
            Delivery(stream, group, consumer, at, key, bodies[at], attempt + 1, bool(before))
            for at, key, attempt, before in taken
        ]

    def _bodies(self, sql: sqlite3.Connection, positions: Sequence[int]) -> dict[int, bytes]:
        query = f"SELECT position, body FROM messages WHERE position IN ({','.join('?' * len(positions))})"
        return dict(sql.execute(query, positions).fetchall())

    def _due(
        self, sql: sqlite3.Connection, stream: str, group: str, now: float, limit: int, attempts: int
    ) -> list[tuple[int, str, int, str]]:
        """Return position, key, attempts so far, and whose lease has ended."""
        found: list[tuple[int, str, int, str]] = []
        most = limit
        for at, key, attempt, before in sql.execute(DUE, (stream, group, now, limit)).fetchall():
            if attempt >= attempts:
                self._bury(sql, stream, group, at, key, f"its consumer died, or took too long, {attempt} times", now)
            elif len(found) < (most := min(most, batch_limit(limit, attempt, attempts))):
                found.append((at, key, attempt, before))
            else:
                break
        return found

    def _new(
        self, sql: sqlite3.Connection, stream: str, group: str, cursor: int, limit: int
    ) -> list[tuple[int, str, int, str]]:
        """Return new messages, and hold those back whose key has an earlier one that is not finished."""
        rows = sql.execute(NEW, (stream, cursor, limit)).fetchall() if limit > 0 else []
        if not rows:
            return []
        query = "SELECT EXISTS (SELECT 1 FROM pending WHERE stream = ? AND name = ? AND key = ?)"
        keys = {key for _, key in rows if key}
        busy = {key for key in keys if sql.execute(query, (stream, group, key)).fetchone()[0]}
        held = [(stream, group, at, key, "", 0, HELD) for at, key in rows if key in busy]
        sql.executemany("INSERT INTO pending VALUES (?, ?, ?, ?, ?, ?, ?)", held)
        sql.execute("UPDATE groups SET cursor = ? WHERE stream = ? AND name = ?", (rows[-1][0], stream, group))
        return [(at, key, 0, "") for at, key in rows if key not in busy]

    def renew(self, deliveries: Sequence[Delivery], *, lease_seconds: float) -> Sequence[Delivery]:
        """Extend leases."""
        with self._transaction() as sql:
            due, update = time.time() + lease_seconds, f"UPDATE pending SET due = ? WHERE {OWNED}"
            return [it for it in deliveries if sql.execute(update, (due, *_owned(it))).rowcount]

    def acknowledge(self, deliveries: Sequence[Delivery]) -> int:
        """Finish messages that were handled."""
        with self._transaction() as sql:
            found = sql.executemany(f"DELETE FROM pending WHERE {OWNED}", map(_owned, deliveries)).rowcount
            for stream, group, key in {(it.stream, it.group, it.key) for it in deliveries if it.key}:
                self._release(sql, stream, group, key)
            return found

    def _release(self, sql: sqlite3.Connection, stream: str, group: str, key: str) -> None:
        """Let go of what waited for a key, unless something else that comes first is still pending."""
        first = "SELECT due FROM pending WHERE stream = ? AND name = ? AND key = ? ORDER BY position LIMIT 1"
        row = sql.execute(first, (stream, group, key)).fetchone()
        if key and row is not None and row[0] == HELD:
            sql.execute(RELEASE, (stream, group, key, _RELEASED))

    def retry(self, delivery: Delivery, *, delay_seconds: float, counts: bool = True) -> bool:
        """Give a message back."""
        with self._transaction() as sql:
            due, attempt = time.time() + delay_seconds, delivery.attempt - (not counts)
            update = f"UPDATE pending SET consumer = '', attempt = ?, due = ? WHERE {OWNED}"
            return bool(sql.execute(update, (attempt, due, *_owned(delivery))).rowcount)

    def bury(self, delivery: Delivery, reason: str) -> bool:
        """Finish a message as a dead letter."""
        with self._transaction() as sql:
            owned = sql.execute(f"SELECT 1 FROM pending WHERE {OWNED}", _owned(delivery)).fetchone()
            if owned is not None:
                it = delivery
                self._bury(sql, it.stream, it.group, it.position, it.key, reason, time.time())
            return owned is not None

    def _bury(
        self, sql: sqlite3.Connection, stream: str, group: str, position: int, key: str, reason: str, now: float
    ) -> None:
        sql.execute(BURY, (reason, now, stream, group, position))
        sql.execute("DELETE FROM pending WHERE stream = ? AND name = ? AND position = ?", (stream, group, position))
        self._release(sql, stream, group, key)

    def trim(self, stream: str, *, keep: int) -> int:
        """Drop the oldest messages that every group has finished."""
        with self._transaction() as sql:
            (unfinished,) = sql.execute(UNFINISHED, (stream,)).fetchone()
            newest = "SELECT position FROM messages WHERE stream = ? ORDER BY position DESC LIMIT 1 OFFSET ?"
            kept = sql.execute(newest, (stream, max(0, keep))).fetchone()
            if unfinished is None or kept is None:
                return 0
            delete = "DELETE FROM messages WHERE stream = ? AND position < ? AND position <= ?"
            return sql.execute(delete, (stream, unfinished, kept[0])).rowcount

    def backlogs(self) -> Sequence[Backlog]:
        """Return what is not finished, by stream and group."""
        with self._transaction() as sql:
            return [Backlog(*row) for row in sorted(sql.execute(BACKLOGS))]

    def tail(self, stream: str, count: int) -> Sequence[tuple[int, Outgoing]]:
        """Return the newest messages of a stream, in order."""
        with self._transaction() as sql:
            query = "SELECT position, key, body FROM messages WHERE stream = ? ORDER BY position DESC LIMIT ?"
            rows = sql.execute(query, (stream, count)).fetchall()
        return [(at, Outgoing(key, body)) for at, key, body in reversed(rows)]

    def dead(self, count: int) -> Sequence[DeadLetter]:
        """Return the newest dead letters, oldest first."""
        with self._transaction() as sql:
            rows = sql.execute("SELECT * FROM dead ORDER BY id DESC LIMIT ?", (count,)).fetchall()
        return [DeadLetter(str(id), *rest) for id, *rest in reversed(rows)]

    def requeue(self, ids: Sequence[str]) -> int:
        """Hand dead letters out again."""
        found = 0
        with self._transaction() as sql:
            for id in ids:
                letter = "SELECT stream, name, position, key, body FROM dead WHERE id = ?"
                row = sql.execute(letter, (id,)).fetchone()
                if row is None:
                    continue
                stream, group, position, key, body = row
                # It may have been trimmed.
                insert = "INSERT OR IGNORE INTO messages VALUES (?, ?, ?, ?)"
                sql.execute(insert, (position, stream, key, body))
                self._join(sql, stream, group)
                pending = "INSERT OR IGNORE INTO pending VALUES (?, ?, ?, ?, '', 0, 0)"
                sql.execute(pending, (stream, group, position, key))
                found += sql.execute("DELETE FROM dead WHERE id = ?", (id,)).rowcount
        return found

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _owned(it: Delivery) -> tuple[str, str, int, str, int]:
    return it.stream, it.group, it.position, it.consumer, it.attempt


def _unusable(path: str, why: str) -> EsperError:
    return EsperError("E611", "the file of a bus cannot be used", where=path, why=why)
