"""Events in SQLite: typed columns beside the data, and an index of every word. Writers and readers share it.

The index holds words only, not the texts that they stand in; those are in the data, once.
"""

import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from esper_core.leyline.events import Event, EventKind
from esper_core.leyline.records import to_json
from esper_runs.event_text import words
from esper_runs.reading import parse_json

#: Marks the files ("ESPR"); the number of the schema is SQLite's user_version.
APPLICATION_ID, VERSION = 0x45535052, 1

_TABLE = """
CREATE TABLE events (
    id INTEGER PRIMARY KEY,
    run TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    kind TEXT NOT NULL,
    round INTEGER NOT NULL,
    host TEXT NOT NULL,
    slot TEXT,
    seed_id TEXT,
    epoch INTEGER,
    time REAL NOT NULL,
    data TEXT NOT NULL,
    UNIQUE (run, sequence)
) STRICT
"""
_INDEX = "CREATE VIRTUAL TABLE event_words USING fts5(kind, host, slot, seed_id, text, content='')"
_INSERT = """
INSERT INTO events (run, sequence, kind, round, host, slot, seed_id, epoch, time, data)
VALUES (:run, :sequence, :kind, :round, :host, :slot, :seed_id, :epoch, :time, :data)
"""
_INSERT_WORDS = "INSERT INTO event_words (rowid, kind, host, slot, seed_id, text) VALUES (?, ?, ?, ?, ?, ?)"

#: An action is answered at once, so the slots of this many are enough.
_REMEMBERED = 256


def create_tables(connection: sqlite3.Connection) -> None:
    """Make an empty database one of events. Raises sqlite3.Error, also where SQLite has no full-text index."""
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute(_TABLE)
    connection.execute(_INDEX)


def is_event_database(connection: sqlite3.Connection) -> bool:
    """Say whether a database has these tables and nothing else: no view or trigger of a stranger's runs here.

    Raises:
        sqlite3.Error: if it is no database.
    """
    marks = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")]
    if marks != [APPLICATION_ID, VERSION]:
        return False
    empty = sqlite3.connect(":memory:")
    try:
        create_tables(empty)
        return _schema(connection) == _schema(empty)
    finally:
        empty.close()


class EventRows:
    """Makes rows of events, in order. Remembers actions, so that a denial has the slot of what was denied.

    Args:
        run: the run's name.
    """

    def __init__(self, run: str) -> None:
        self._run = encodable(run)
        self._slots: dict[Any, Any] = {}
        self._last: int | None = None

    def insert(self, connection: sqlite3.Connection, events: Iterable[Event | Mapping[str, Any]]) -> None:
        """Add events, which may come from a log, within the transaction that is open.

        As in a log, an event whose number was given out before takes back everything from that number on.

        Raises:
            sqlite3.Error: if they cannot be written, or the run was there before.
            TypeError: if an event cannot be converted to plain data.
        """
        for event in events:
            row = self._row(attrs.asdict(event, recurse=False) if isinstance(event, Event) else event)
            if self._last is not None and row["sequence"] <= self._last:
                forget_from(connection, self._run, row["sequence"])
            self._last = row["sequence"]
            identity = connection.execute(_INSERT, row).lastrowid
            _insert_words(connection, identity, row)

    def _row(self, event: Mapping[str, Any]) -> dict[str, Any]:
        data = event["data"]
        text = encodable(to_json(data))
        slot = _text(data.get("slot"))
        if event["kind"] == EventKind.ACTION_DECIDED:
            self._slots[data.get("id")] = slot
            if len(self._slots) > _REMEMBERED:
                del self._slots[next(iter(self._slots))]
        elif event["kind"] == EventKind.ACTION_DENIED:
            slot = self._slots.get(data.get("action_id"))
        return {
            "run": self._run,
            "sequence": event["sequence"],
            "kind": encodable(str(event["kind"])),
            "round": event.get("round", 0),
            "host": encodable(str(event["host"])),
            "slot": slot,
            "seed_id": _text(data.get("seed_id")),
            "epoch": event.get("epoch"),
            "time": float(event.get("time", 0.0)),
            "data": text,
        }


def forget_from(connection: sqlite3.Connection, run: str, number: int) -> None:
    """Remove a run's events from a number on, within the transaction that is open. Raises sqlite3.Error."""
    if connection.execute("DELETE FROM events WHERE run = ? AND sequence >= ?", (encodable(run), number)).rowcount:
        # Words can only be taken out of the index one by one if the texts are known: it is made again.
        connection.execute("INSERT INTO event_words (event_words) VALUES ('delete-all')")
        columns = ("id", "kind", "host", "slot", "seed_id", "data")
        for identity, *values in connection.execute(f"SELECT {', '.join(columns)} FROM events").fetchall():
            _insert_words(connection, identity, dict(zip(columns[1:], values, strict=True)))


def encodable(text: str) -> str:
    """Return a text that SQLite takes: what no encoding has becomes its escape, as in JSON."""
    return text.encode("utf-8", "backslashreplace").decode()


def _insert_words(connection: sqlite3.Connection, identity: int | None, row: Mapping[str, Any]) -> None:
    text = encodable(" ".join(words(parse_json(row["data"]))).replace("\0", " "))
    values = [row[name] for name in ("kind", "host", "slot", "seed_id")]
    connection.execute(_INSERT_WORDS, (identity, *values, text))


def _text(value: Any) -> str | None:
    return None if value is None else encodable(str(value))


def _schema(connection: sqlite3.Connection) -> list[tuple[str, str, str]]:
    found = connection.execute("SELECT type, name, sql FROM sqlite_master ORDER BY name").fetchall()
    return [(kind, name, sql or "") for kind, name, sql in found]
