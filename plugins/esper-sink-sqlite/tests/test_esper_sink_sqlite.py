import os
import resource
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from esper_core.api import EsperError, Event, EventKind
from esper_runs.event_search import EventQuery, opened_events
from esper_runs.run_directory import RunDirectory
from esper_sink_sqlite.config import SqliteConfig
from esper_sink_sqlite.sink import SqliteSink

#: Emits recorded events in batches for ever, and says after each batch how many are written.
WRITER = """
import sys
from esper_core.api import Event, EventKind
from esper_sink_sqlite.config import SqliteConfig
from esper_sink_sqlite.sink import SqliteSink

sink, number = SqliteSink(SqliteConfig()), 0
sink.open({"directory": sys.argv[1], "name": "digits-1"})
while True:
    batch = [Event(kind=EventKind.NOTICE, data={"message": "x" * 500}, sequence=number + i) for i in range(17)]
    sink.emit(batch)
    number += len(batch)
    print(number, flush=True)
"""


def event(sequence: int = 0, kind: str = "notice", **data: Any) -> Event:
    return Event(kind=EventKind(kind), host="grown", epoch=3, round=1, data=data, sequence=sequence, time=12.5)


def rows(path: Path, columns: str = "sequence", where: str = "TRUE") -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(f"SELECT {columns} FROM events WHERE {where} ORDER BY run, sequence").fetchall()


def sound(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO event_words (event_words) VALUES ('integrity-check')")
        return connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., SqliteSink]]:
    sinks: list[SqliteSink] = []

    def make(name: str = "digits-1", resumed_at: int | None = None, **options: Any) -> SqliteSink:
        sink = SqliteSink(SqliteConfig(**options))
        (tmp_path / name).mkdir(exist_ok=True)
        more = {} if resumed_at is None else {"resumed_at": resumed_at}
        sink.open({"directory": str(tmp_path / name), "name": name} | more)
        sinks.append(sink)
        return sink

    yield make
    for sink in sinks:
        sink.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "digits-1" / "events.sqlite"


def test_columns_have_what_an_event_is_about(opened: Any, file: Path) -> None:
    opened().emit([event(0, "seed_transition", slot="block0", seed_id="block0-0", reason="it may")])
    columns = "run, sequence, kind, round, host, slot, seed_id, epoch, time, json_extract(data, '$.reason')"
    row = ("digits-1", 0, "seed_transition", 1, "grown", "block0", "block0-0", 3, 12.5, "it may")
    assert rows(file, columns) == [row]


def test_a_denial_has_the_slot_of_the_action_that_was_denied(opened: Any, file: Path) -> None:
    opened().emit(
        [
            event(0, "action_decided", id="grown/3", op="CULL", slot="block1"),
            event(1, "action_denied", action_id="grown/3", allowed=False, reason="no"),
            event(2, "action_denied", action_id="unknown", allowed=False, reason="no"),
        ]
    )
    assert rows(file, "slot") == [("block1",), ("block1",), (None,)]


def test_a_batch_is_there_for_readers_at_once_and_whole(opened: Any, file: Path) -> None:
    sink = opened()
    sink.emit([event(0), event(1)])
    with pytest.raises(TypeError, match="no plain form"):
        sink.emit([event(2), event(3, thing=object())])
    sink.emit([event(4)])
    assert rows(file) == [(0,), (1,), (4,)]
    assert sound(file)


def test_every_word_of_the_data_is_found(opened: Any, tmp_path: Path) -> None:
    opened().emit([event(0, message="the naïve 種子"), event(1, gates=[{"reason": "too early"}]), event(2, a="early")])
    with opened_events(RunDirectory(tmp_path / "digits-1")) as connection:
        found = {
            text: [it["sequence"] for it in EventQuery(text=text).select(connection)] for text in ("early", "naive")
        }
    assert found == {"early": [1, 2], "naive": [0]}


def test_what_no_encoding_has_is_stored_as_its_escape(opened: Any, file: Path) -> None:
    opened().emit([event(0, message="\udc80\x00", slot="a\udc80")])
    assert rows(file, "slot, json_type(data, '$.message')") == [("a\\udc80", "text")]


def test_a_resumed_run_removes_its_own_events_and_no_others(opened: Any, tmp_path: Path) -> None:
    shared = tmp_path / "all.sqlite"
    for name in ("digits-1", "digits-2"):
        sink = opened(name, path=str(shared))
        sink.emit([event(number, message=f"word{number}") for number in range(6)])
        sink.close()
    sink = opened("digits-2", resumed_at=4, path=str(shared))
    sink.emit([event(4, message="again")])
    kept = [("digits-1", n) for n in range(6)] + [("digits-2", n) for n in range(5)]
    assert rows(shared, "run, sequence") == kept
    with closing(sqlite3.connect(shared)) as connection:
        counts = [len(list(EventQuery(text=text).select(connection))) for text in ("word5", "word4", "word3", "again")]
    assert counts == [1, 1, 2, 1]
    assert sound(shared)


def test_a_run_that_was_renamed_goes_on_under_its_new_name(opened: Any, tmp_path: Path) -> None:
    sink = opened()
    sink.emit([event(number) for number in range(3)])
    sink.close()
    (tmp_path / "digits-1").rename(tmp_path / "renamed")
    opened("renamed", resumed_at=2).emit([event(2)])
    assert rows(tmp_path / "renamed" / "events.sqlite", "run, sequence") == [("renamed", n) for n in range(3)]


def refused(opened: Any, **options: Any) -> EsperError:
    with pytest.raises(EsperError) as caught:
        opened(**options)
    assert caught.value.code == "E504"
    return caught.value


def test_a_second_run_of_the_same_name_is_refused(opened: Any, tmp_path: Path) -> None:
    shared = str(tmp_path / "all.db")
    opened(path=shared).emit([event()])
    assert "digits-1" in (refused(opened, path=shared).why or "")


@pytest.mark.parametrize("content", [b"a text", b"SQLite format 3\0" + bytes(84), None])
def test_a_file_of_something_else_is_refused_and_left_alone(opened: Any, tmp_path: Path, content: Any) -> None:
    path = tmp_path / "somebody.sqlite"
    if content is None:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE events (id INTEGER)")
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    refused(opened, path=str(path))
    assert path.read_bytes() == before


def test_a_database_with_a_trigger_of_a_strangers_is_refused(opened: Any, file: Path) -> None:
    opened().close()
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TRIGGER t AFTER INSERT ON events BEGIN DELETE FROM events; END")
    assert "no database of events" in (refused(opened, resumed_at=0).why or "")


@pytest.mark.parametrize("name", ["events.txt", "events", ".bashrc"])
def test_outside_of_the_runs_directory_the_name_must_be_that_of_a_database(
    opened: Any, tmp_path: Path, name: str
) -> None:
    refused(opened, path=str(tmp_path / name))
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("name", ["events.sqlite", "events.sqlite-wal", "events.sqlite-shm"])
def test_a_link_in_the_runs_directory_is_not_followed(opened: Any, file: Path, tmp_path: Path, name: str) -> None:
    (victim := tmp_path / "victim").write_text("precious")
    file.parent.mkdir()
    (file.parent / name).symlink_to(victim)
    assert "symbolic link" in (refused(opened, resumed_at=0).why or "")
    assert victim.read_text() == "precious"


def test_an_unwritable_place_and_none_are_told_when_the_run_begins(opened: Any, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    refused(opened, path=str(tmp_path / "taken" / "events.sqlite"))
    with pytest.raises(EsperError, match="nowhere to write"):
        SqliteSink(SqliteConfig()).open({"directory": None})


def test_a_locked_file_costs_the_batch_and_soon_gives_up(opened: Any, file: Path) -> None:
    sink = opened()
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            sink.emit([event(0)])
        other.execute("ROLLBACK")
    sink.emit([event(1)])
    assert rows(file) == [(1,)]


@contextmanager
def small_disk() -> Iterator[None]:
    """No file may grow beyond 100 kB: the kernel writes what fits and then refuses, like a full disk.

    No fixture, which would still be there when pytest writes how the test has ended.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_costs_the_batch_and_never_the_file(opened: Any, file: Path) -> None:
    sink = opened()
    with small_disk():
        sink.emit([event(0)])
        with pytest.raises(sqlite3.OperationalError):
            sink.emit([event(number, message=os.urandom(500).hex()) for number in range(1, 200)])
        sink.emit([event(200)])
    assert rows(file) == [(0,), (200,)]
    assert sound(file)


def killed_after(directory: Path, batches: int) -> int:
    """Kill a writer somewhere behind a batch; return how many events were written for sure."""
    command = [sys.executable, "-c", WRITER, str(directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        written = [int(writer.stdout.readline()) for _ in range(batches)][-1]
        writer.kill()
    return written


def check_killed(directory: Path, batches: int) -> None:
    directory.mkdir()
    written = killed_after(directory, batches)
    numbers = [number for (number,) in rows(directory / "events.sqlite")]
    assert numbers == [*range(len(numbers))]
    assert len(numbers) >= written
    assert len(numbers) % 17 == 0
    assert sound(directory / "events.sqlite")


@pytest.mark.parametrize("batches", [1, 40])
def test_a_killed_process_leaves_a_valid_file_without_a_gap(tmp_path: Path, batches: int) -> None:
    check_killed(tmp_path / "run", batches)


@pytest.mark.soak
def test_two_hundred_killed_processes(tmp_path: Path) -> None:
    for number in range(200):
        check_killed(tmp_path / f"run-{number}", 1 + number * 7 % 60)
