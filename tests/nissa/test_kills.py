"""A process that is killed with -9 leaves logs whose every complete record is valid, and no gap."""

import json
import random
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from esper_core.leyline.events import Event, EventKind
from esper_nissa.hub import Hub
from esper_runs.event_log import read_event_log
from esper_sink_jsonl.config import JsonlConfig
from esper_sink_jsonl.sink import JsonlSink
from esper_sink_sqlite.config import SqliteConfig
from esper_sink_sqlite.sink import SqliteSink

WRITER = Path(__file__).with_name("killed_writer.py")

#: A kill comes somewhere behind one of so many events: sinks are opening, in the midst of batches, or flushing.
LATEST = 1_500


def kill(directory: Path, number: int) -> None:
    """Let a process write, and kill it at a moment that follows from the number."""
    chance = random.Random(number)
    told = chance.randrange(LATEST)
    with subprocess.Popen([sys.executable, str(WRITER), str(directory)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        for _ in range(told):
            writer.stdout.readline()
        # A moment that no line marks.
        for _ in range(chance.randrange(20_000)):
            pass
        writer.kill()
        assert writer.wait() == -9


def check_log(directory: Path) -> int:
    """Check what a killed process has left of its log; return how many events are in it."""
    path = directory / "events.jsonl"
    if not path.exists():
        return 0
    *lines, rest = path.read_bytes().split(b"\n")
    numbers = [json.loads(line)["sequence"] for line in lines]
    assert numbers == [*range(len(numbers))]
    read = read_event_log(path)
    assert read is not None
    assert (read.damaged, read.lost) == (0, 0)
    # The last line may be complete but for its end.
    assert len(read.events) in (len(lines), len(lines) + 1)
    assert rest == b"" or read.torn or len(read.events) == len(lines) + 1
    return len(lines)


def check_database(directory: Path) -> int:
    """The same for its database."""
    path = directory / "events.sqlite"
    if not path.exists():
        return 0
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'events'").fetchall():
            return 0
        rows = connection.execute("SELECT sequence, data FROM events ORDER BY sequence").fetchall()
        assert [number for number, _ in rows] == [*range(len(rows))]
        assert all(isinstance(json.loads(data), dict) for _, data in rows)
    connection.close()
    return len(rows)


def go_on(directory: Path, first: int) -> None:
    """Another process goes on from an event that both have, as a resumed run does."""
    sinks = {"jsonl": JsonlSink(JsonlConfig()), "sqlite": SqliteSink(SqliteConfig())}
    with Hub(sinks, first=first) as hub:
        hub.open({"name": "digits-1", "directory": str(directory), "resumed_at": first})
        for number in range(70):
            hub.emit(Event(kind=EventKind.NOTICE, data={"message": f"after the kill: {number}"}))
    assert all(not it.errors and not it.dropped for it in hub.counts().values())


def drill(directory: Path, number: int) -> tuple[int, int]:
    directory.mkdir()
    kill(directory, number)
    left = check_log(directory), check_database(directory)
    go_on(directory, first := min(left))
    assert check_log(directory) == check_database(directory) == first + 70
    return left


def test_a_dozen_kills_leave_valid_logs_without_a_gap(tmp_path: Path) -> None:
    left = [drill(tmp_path / f"run-{number}", number) for number in range(12)]
    assert sum(min(both) > 0 for both in left) > 6  # otherwise nothing was looked at


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_two_hundred_kills_leave_valid_logs_without_a_gap(tmp_path: Path) -> None:
    left = [drill(tmp_path / f"run-{number}", number) for number in range(200)]
    assert sum(min(both) > 0 for both in left) > 100


def test_a_gap_and_a_damaged_line_would_be_noticed(tmp_path: Path) -> None:
    events = [json.dumps({"kind": "notice", "host": "", "data": {}, "sequence": number}) for number in range(4)]
    for lines in (events[:1] + events[2:], [events[0], "{", *events[1:]]):
        (tmp_path / "events.jsonl").write_text("\n".join(lines) + "\n")
        with pytest.raises((AssertionError, ValueError)):
            check_log(tmp_path)


RUN = (
    "epochs=5",
    "twin=epochs",
    "host.widths=[4, 8]",
    "batch_size=256",
    "checkpoints.every=1",
    "policy.fit_accuracy=1.0",
    "telemetry=debug",
    'sinks.names=["console", "jsonl", "sqlite"]',
)
CHANGES = {"time", "monotonic", "run", "seconds", "train_seconds", "measure_seconds"}


def esper(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "esper_app.cli", "run", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def begin(runs: Path) -> subprocess.Popen[str]:
    return esper("digits", *(part for it in (*RUN, f"runs={runs}") for part in ("--set", it)))


def timeless(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: timeless(value) for key, value in data.items() if key not in CHANGES}
    return [timeless(item) for item in data] if isinstance(data, list) else data


def events(run: Path) -> list[Any]:
    """All but the first, which tells where the run is."""
    return [timeless(json.loads(line)) for line in (run / "events.jsonl").read_text().splitlines()[1:]]


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_ten_killed_runs_leave_valid_logs_and_go_on_as_if_nothing_had_been(tmp_path: Path) -> None:
    with begin(tmp_path / "whole") as running:
        assert running.stdout is not None
        lines = len(running.stdout.readlines())
    assert running.returncode == 0
    whole, looked, went_on = tmp_path / "whole" / "digits-1", 0, 0
    for number in range(10):
        runs, chance = tmp_path / f"runs-{number}", random.Random(number)
        with begin(runs) as running:
            assert running.stdout is not None
            for _ in range(chance.randrange(1, lines)):
                running.stdout.readline()
            running.kill()
        run = runs / "digits-1"
        looked += check_log(run) > 0 and check_database(run) > 0
        if running.returncode == 0 or not [*run.glob("checkpoints/*.safetensors")]:
            continue  # it was over, or nothing had been saved
        with esper("--resume", str(run)) as resumed:
            told = resumed.communicate()[0]
        assert resumed.returncode == 0, told
        went_on += 1
        assert events(run) == events(whole)
        assert (run / "weights.safetensors").read_bytes() == (whole / "weights.safetensors").read_bytes()
        assert check_log(run) == check_database(run) == len(events(whole)) + 1
    assert looked > 3
    assert went_on > 3
