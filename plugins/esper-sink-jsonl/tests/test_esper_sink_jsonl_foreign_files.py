"""Whatever file a configuration names, only a run's own lines are cut, and only in its own directory."""

import os
from pathlib import Path

import pytest

from esper_core.api import EsperError, Event, EventKind, to_json
from esper_sink_jsonl.config import JsonlConfig
from esper_sink_jsonl.sink import JsonlSink


def line(number: int, kind: str = "notice", **data: object) -> str:
    return to_json(Event(kind=EventKind(kind), host="grown", data=data, sequence=number)) + "\n"


def resumed(directory: Path, at: int, path: Path | None = None) -> None:
    """Open and close the sink as a run in `directory` does that goes on with event `at`."""
    sink = JsonlSink(JsonlConfig(path=None if path is None else str(path)))
    sink.open({"directory": str(directory), "name": directory.name, "resumed_at": at})
    sink.close()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (run := tmp_path / "digits-1").mkdir()
    return run


def test_a_runs_own_events_are_cut_in_its_own_log(run: Path) -> None:
    log = run / "events.jsonl"
    log.write_text("".join(map(line, range(6))) + '{"kind": "noti')
    resumed(run, 4)
    assert log.read_text() == "".join(map(line, range(4)))


@pytest.mark.parametrize(
    "tail",
    [
        "not an event\n",
        line(0),
        line(9),
        line(6, "run_started", name="digits-2"),
        '{"other": 1}\n',
        "[" * 20_000 + "\n",
        "the beginning of somebody's sentence",
    ],
)
def test_what_is_not_this_runs_is_never_cut(run: Path, tail: str) -> None:
    log = run / "events.jsonl"
    log.write_text(before := "".join(map(line, range(6))) + tail)
    resumed(run, 4)
    assert log.read_text().startswith(before)


def test_nothing_is_cut_outside_of_the_runs_directory(run: Path, tmp_path: Path) -> None:
    shared = tmp_path / "shared.jsonl"
    shared.write_text(before := "".join(map(line, range(23))))
    resumed(run, 4, shared)
    assert shared.read_text() == before


@pytest.mark.parametrize("name", ["notes.txt", ".bashrc", "notes.jsonl", "empty.txt", "new.sh"])
def test_a_file_that_is_no_log_is_refused_and_left_alone(run: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if not name.startswith("new"):
        path.write_text("" if name.startswith("empty") else "export PATH\nmore\n")
    before = path.read_text() if path.exists() else None
    with pytest.raises(EsperError) as caught:
        resumed(run, 0, path)
    assert caught.value.code == "E504"
    assert (path.read_text() if path.exists() else None) == before


def test_a_link_in_the_runs_directory_is_not_followed(run: Path, tmp_path: Path) -> None:
    (victim := tmp_path / "victim.jsonl").write_text(before := "".join(map(line, range(6))))
    (run / "events.jsonl").symlink_to(victim)
    with pytest.raises(EsperError, match="cannot write") as caught:
        resumed(run, 2)
    assert "symbolic link" in str(caught.value.why)
    (run / "events.jsonl").unlink()
    os.link(victim, run / "events.jsonl")
    with pytest.raises(EsperError, match="cannot write") as caught:
        resumed(run, 2)
    assert "hard link" in str(caught.value.why)
    assert victim.read_text() == before


@pytest.mark.parametrize("own", [True, False])
def test_a_pipe_or_a_folder_is_refused_at_once(run: Path, tmp_path: Path, own: bool) -> None:
    for make in (os.mkfifo, os.mkdir):
        path = (run if own else tmp_path) / "events.jsonl"
        make(path)
        with pytest.raises(EsperError, match="cannot write"):
            resumed(run, 0, path)
        path.unlink() if make is os.mkfifo else path.rmdir()


def test_a_log_that_is_too_large_to_be_read_is_refused(run: Path) -> None:
    log = run / "events.jsonl"
    log.write_text("".join(map(line, range(6))))
    os.truncate(log, 8 << 40)
    with pytest.raises(EsperError) as caught:
        resumed(run, 4)
    assert caught.value.code == "E504"
    assert "8,796,093,022,208 bytes" in str(caught.value.why)
    assert log.stat().st_size == 8 << 40
