import json
import math
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esper_core.api import EsperError, Event, EventKind, Stage
from esper_sink_jsonl.config import JsonlConfig
from esper_sink_jsonl.sink import JsonlSink


def event(sequence: int = 0, **data: Any) -> Event:
    return Event(kind=EventKind.NOTICE, host="grown", epoch=3, data=data, sequence=sequence, time=12.5)


def read(path: Path) -> list[dict[str, Any]]:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    text = path.read_text(encoding="utf-8")
    assert not text or text.endswith("\n")
    return [json.loads(line, parse_constant=refuse) for line in text.split("\n")[:-1]]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., JsonlSink]]:
    sinks: list[JsonlSink] = []

    def make(**options: Any) -> JsonlSink:
        sink = JsonlSink(JsonlConfig(**options))
        sink.open({"directory": str(tmp_path)})
        sinks.append(sink)
        return sink

    yield make
    for sink in sinks:
        sink.close()


def test_events_stand_in_the_runs_directory_one_on_each_line(opened: Any, tmp_path: Path) -> None:
    opened().emit([event(0, message="one"), event(1, stage=Stage.BLENDING)])
    assert read(tmp_path / "events.jsonl") == [
        {
            "kind": "notice",
            "host": "grown",
            "epoch": 3,
            "round": 0,
            "data": {"message": "one"},
            "sequence": 0,
            "time": 12.5,
            "monotonic": 0.0,
            "run": "",
            "slot": None,
            "seed_id": None,
        },
        {
            "kind": "notice",
            "host": "grown",
            "epoch": 3,
            "round": 0,
            "data": {"stage": "BLENDING"},
            "sequence": 1,
            "time": 12.5,
            "monotonic": 0.0,
            "run": "",
            "slot": None,
            "seed_id": None,
        },
    ]


def test_what_was_emitted_is_visible_before_anybody_flushes(opened: Any, tmp_path: Path) -> None:
    opened().emit([event()])
    assert len(read(tmp_path / "events.jsonl")) == 1


def test_order_is_kept_over_batches(opened: Any, tmp_path: Path) -> None:
    sink = opened()
    for start in range(0, 500, 7):
        sink.emit([event(sequence) for sequence in range(start, min(start + 7, 500))])
        sink.flush()
    assert [line["sequence"] for line in read(tmp_path / "events.jsonl")] == list(range(500))


def test_nan_and_infinity_are_strict_json_that_float_reads(opened: Any, tmp_path: Path) -> None:
    opened().emit([event(values=[math.nan, math.inf, -math.inf, 1.5], missing=None)])
    data = read(tmp_path / "events.jsonl")[0]["data"]
    assert data == {"values": ["NaN", "Infinity", "-Infinity", 1.5], "missing": None}
    assert [float(value) for value in data["values"][1:3]] == [math.inf, -math.inf]


@given(st.text() | st.just("a lone surrogate: \udc80"))
def test_any_text_survives(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("jsonl") / "events.jsonl"
    sink = JsonlSink(JsonlConfig(path=str(path)))
    sink.open({"directory": None})
    sink.emit([event(message=text)])
    sink.close()
    assert read(path)[0]["data"]["message"] == text


def test_unicode_stays_readable_in_the_file(opened: Any, tmp_path: Path) -> None:
    opened().emit([event(message="naïve 種子 \u2028 ✓")])
    assert "naïve 種子 \u2028 ✓" in (tmp_path / "events.jsonl").read_text(encoding="utf-8")


def test_an_existing_log_is_appended_to(opened: Any, tmp_path: Path) -> None:
    for sequence in range(2):
        sink = opened()
        sink.emit([event(sequence)])
        sink.close()
    assert [line["sequence"] for line in read(tmp_path / "events.jsonl")] == [0, 1]


def test_a_line_torn_by_a_crash_is_not_continued(opened: Any, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"kind": "noti')
    opened().emit([event(7)])
    torn, line, end = path.read_text().split("\n")
    assert (torn, end) == ('{"kind": "noti', "")
    assert json.loads(line)["sequence"] == 7


def test_a_path_of_ones_own_is_used_and_its_folder_made(opened: Any, tmp_path: Path) -> None:
    path = tmp_path / "logs" / "deep" / "run.jsonl"
    opened(path=str(path)).emit([event()])
    assert len(read(path)) == 1
    assert not (tmp_path / "events.jsonl").exists()


def test_closing_twice_does_nothing_and_emitting_after_it_raises(opened: Any, tmp_path: Path) -> None:
    sink = opened()
    sink.emit([event()])
    sink.close()
    sink.close()
    with pytest.raises(RuntimeError, match="not open"):
        sink.emit([event()])
    assert len(read(tmp_path / "events.jsonl")) == 1


def test_emitting_before_opening_raises() -> None:
    with pytest.raises(RuntimeError, match="not open"):
        JsonlSink(JsonlConfig()).emit([event()])


def test_an_unwritable_place_is_told_when_the_run_begins(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    sink = JsonlSink(JsonlConfig(path=str(tmp_path / "file" / "events.jsonl")))
    with pytest.raises(EsperError) as caught:
        sink.open({"directory": str(tmp_path)})
    assert caught.value.code == "E504"
    assert "events.jsonl" in caught.value.what
    sink.close()


def test_a_run_without_directory_needs_a_path() -> None:
    with pytest.raises(EsperError, match="nowhere to write") as caught:
        JsonlSink(JsonlConfig()).open({"directory": None})
    assert "sinks.jsonl.path" in (caught.value.fix or "")


@contextmanager
def small_disk() -> Iterator[None]:
    """No file may grow beyond 600 bytes: the kernel writes what fits and then refuses, like a full disk.

    No fixture, which would still be there when pytest writes how the test has ended.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_costs_the_batch_but_never_tears_a_line(opened: Any, tmp_path: Path) -> None:
    sink = opened()
    with small_disk():
        sink.emit([event(0)])
        with pytest.raises(OSError, match="File too large"):
            sink.emit([event(1, message="x" * 200), event(2, message="x" * 400)])
        sink.emit([event(3)])
    assert [line["sequence"] for line in read(tmp_path / "events.jsonl")] == [0, 3]


def test_a_full_disk_at_closing_is_told(opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> None:
        raise OSError(28, "No space left on device")

    sink = opened(fsync=True)
    sink.emit([event()])
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="No space left"):
        sink.flush()
    with pytest.raises(OSError, match="No space left"):
        sink.close()
    sink.close()


def test_fsync_reaches_the_disk_at_each_flush(opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    lazy, eager = opened(), opened(fsync=True)
    lazy.flush()
    assert synced == []
    eager.flush()
    assert len(synced) == 1


def test_a_batch_with_something_that_has_no_plain_form_is_refused_whole(opened: Any, tmp_path: Path) -> None:
    sink = opened()
    with pytest.raises(TypeError, match="no plain form"):
        sink.emit([event(0), event(1, thing=object())])
    assert read(tmp_path / "events.jsonl") == []
