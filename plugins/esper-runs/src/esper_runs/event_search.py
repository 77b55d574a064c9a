"""Find events of a run by words and by field, in its SQLite file or in its log."""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from operator import eq, ge, gt, le, lt, ne
from pathlib import Path
from typing import Any
from urllib.parse import quote

from attrs import frozen

from esper_core.leyline.errors import EsperError
from esper_runs.event_database import EventRows, create_tables, encodable, is_event_database
from esper_runs.event_log import read_event_log
from esper_runs.reading import parse_json, refuse_links, refuse_other_kinds
from esper_runs.run_directory import EVENTS, RunDirectory

#: Where the sink `sqlite` writes unless a configuration says otherwise.
DATABASE = "events.sqlite"

#: How strict JSON writes what is not finite.
NOT_FINITE = ("NaN", "Infinity", "-Infinity")

_OPERATORS = {"<=": le, ">=": ge, "!=": ne, "=": eq, "<": lt, ">": gt}
_COLUMNS = ("sequence", "kind", "round", "host", "slot", "seed_id", "epoch", "time", "data")


@frozen
class Condition:
    """What a value in an event's data is to be.

    Attributes:
        path: the keys that lead to it; in a list, a number is a place in it, anything else leads into each element.
        operator: ``=``, ``!=``, ``<``, ``<=``, ``>`` or ``>=``.
        value: what it is compared with.
    """

    path: tuple[str, ...]
    operator: str
    value: Any

    @classmethod
    def parse(cls, text: str) -> "Condition":
        """Read ``validation.accuracy>=0.9``; the value is JSON if it can be, a text otherwise. Raises ValueError."""
        at = min((place for sign in "<>!=" if (place := text.find(sign)) > 0), default=0)
        operator = next((sign for sign in _OPERATORS if text.startswith(sign, at)), None)
        if not at or operator is None:
            raise ValueError("it is not of the form path=value; <, <=, >, >= and != are possible as well")
        path = tuple(text[:at].strip().removeprefix("data.").split("."))
        given = text[at + len(operator) :].strip()
        try:
            # In a log, what is not finite is a text.
            return cls(path, operator, given if given in NOT_FINITE else parse_json(given))
        except ValueError:
            return cls(path, operator, given)

    def holds(self, data: Any) -> bool:
        """Say whether a value at the path is as it is to be; for a list on the way, one of its elements suffices."""
        return any(_compare(self.operator, value, self.value) for value in _values(data, self.path))


@frozen(kw_only=True)
class EventQuery:
    """Which events are wanted: those to which everything applies that is not None.

    Attributes:
        text: words that all occur in the event; one that ends in ``*`` is the beginning of a word.
        kind, host, slot, seed_id: exactly these.
        first, last: epochs from 0, both included; events outside of epochs are left out then.
        conditions: what values in the data are to be.
    """

    text: str | None = None
    kind: str | None = None
    host: str | None = None
    slot: str | None = None
    seed_id: str | None = None
    first: int | None = None
    last: int | None = None
    conditions: tuple[Condition, ...] = ()

    def select(self, connection: sqlite3.Connection) -> Iterator[dict[str, Any]]:
        """Yield the events as a log holds them, with `slot` and `seed_id` besides, oldest first."""
        where: list[str] = ["TRUE"]
        values: list[str | int] = []
        for column in ("kind", "host", "slot", "seed_id"):
            if (wanted := getattr(self, column)) is not None:
                where.append(f"{column} = ?")
                values.append(encodable(wanted))
        for comparison, bound in (("epoch >= ?", self.first), ("epoch <= ?", self.last)):
            if bound is not None:
                where.append(comparison)
                values.append(bound)
        if self.text is not None and self.text.split():
            where.append("id IN (SELECT rowid FROM event_words WHERE event_words MATCH ?)")
            values.append(" AND ".join(map(_word, encodable(self.text).split())))
        query = f"SELECT {', '.join(_COLUMNS)} FROM events WHERE {' AND '.join(where)} ORDER BY run, sequence"
        for row in connection.execute(query, values):
            event = dict(zip(_COLUMNS, row, strict=True))
            event["data"] = parse_json(event["data"])
            if all(condition.holds(event["data"]) for condition in self.conditions):
                yield event


@contextmanager
def opened_events(directory: RunDirectory) -> Iterator[sqlite3.Connection]:
    """Give a database of a run's events: its SQLite file if it goes as far as the log, else the log in memory.

    Raises:
        EsperError: E508 if there is neither, or it is damaged.
    """
    with _as_damage(directory):
        log = read_last_number(directory.path / EVENTS)
        connection = _opened_file(directory.path / DATABASE)
        if connection is not None and log is not None and _last_number(connection) < log:
            connection.close()
            connection = None
        if connection is None:
            connection = _loaded(directory)
    try:
        with _as_damage(directory):
            yield connection
    finally:
        connection.close()


def read_last_number(log: Path) -> int | None:
    """Return the number of the last whole event of a log; None if there is no log, or no event at its end."""
    try:
        refuse_links(log.parent, log)
        refuse_other_kinds(log, log.stat().st_mode)
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - (1 << 20)))
            lines = file.read().split(b"\n")
    except FileNotFoundError:
        return None
    for line in reversed(lines):
        try:
            event = parse_json(line)
        except ValueError:
            continue
        if isinstance(event, dict) and isinstance(event.get("sequence"), int):
            return int(event["sequence"])
    return None


@contextmanager
def _as_damage(directory: RunDirectory) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError, ValueError, TypeError, KeyError, OverflowError) as error:
        what = f'the events of run "{directory.name}" cannot be read'
        raise EsperError("E508", what, where=str(directory.path), why=str(error) or type(error).__name__) from error


def _opened_file(path: Path) -> sqlite3.Connection | None:
    """Open a run's SQLite file for reading alone; None if there is none."""
    try:
        refuse_links(path.parent, path)
    except FileNotFoundError:
        return None
    for file in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))):
        if file.is_symlink() or file.exists():
            refuse_other_kinds(file, file.lstat().st_mode)
    address = f"file:{quote(str(path.absolute()))}?mode=ro"
    try:
        return _trusted(address, path.name)
    except sqlite3.OperationalError:
        # In a directory that cannot be written to, SQLite cannot share a file. Nobody else can write to it either.
        if path.with_name(f"{path.name}-wal").exists():
            raise
        return _trusted(f"{address}&immutable=1", path.name)


def _trusted(address: str, name: str) -> sqlite3.Connection:
    connection = sqlite3.connect(address, uri=True)
    try:
        for setting in ("trusted_schema = OFF", "query_only = ON", "cell_size_check = ON"):
            connection.execute(f"PRAGMA {setting}")
        if not is_event_database(connection):
            raise ValueError(f"{name} is no database of events, or one of another version")
    except (sqlite3.Error, ValueError):
        connection.close()
        raise
    return connection


def _last_number(connection: sqlite3.Connection) -> int:
    last: int | None = connection.execute("SELECT max(sequence) FROM events").fetchone()[0]
    return -1 if last is None else last


def _loaded(directory: RunDirectory) -> sqlite3.Connection:
    log = read_event_log(directory.path / EVENTS, inside=directory.path)
    if log is None:
        raise ValueError(f"there is neither {DATABASE} nor {EVENTS}")
    connection = sqlite3.connect(":memory:")
    create_tables(connection)
    EventRows(directory.name).insert(connection, log.events)
    return connection


def _word(text: str) -> str:
    """A word in FTS5's language, in which quotes make it nothing but a word."""
    stem = text.rstrip("*")
    quoted = '"' + stem.replace('"', '""') + '"'
    return f"{quoted}*" if text.endswith("*") and stem else quoted


def _values(data: Any, path: tuple[str, ...]) -> Iterator[Any]:
    if not path:
        yield data
    elif isinstance(data, Mapping):
        # A key may have a point in it.
        for length in range(1, len(path) + 1):
            if (key := ".".join(path[:length])) in data:
                yield from _values(data[key], path[length:])
    elif isinstance(data, list):
        if path[0].isdecimal():
            yield from _values(data[int(path[0])], path[1:]) if int(path[0]) < len(data) else ()
        else:
            for element in data:
                yield from _values(element, path)


def _compare(operator: str, found: Any, wanted: Any) -> bool:
    if operator in ("=", "!="):
        # To Python, true is 1.
        equal = isinstance(found, bool) is isinstance(wanted, bool) and found == wanted
        return equal is (operator == "=")
    numbers = all(isinstance(it, int | float) and not isinstance(it, bool) for it in (found, wanted))
    texts = isinstance(found, str) and isinstance(wanted, str)
    return bool((numbers or texts) and _OPERATORS[operator](found, wanted))
