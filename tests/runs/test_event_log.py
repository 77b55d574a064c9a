import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esper_runs.event_log import EventLog, read_event_log


def line(number: int, note: str = "") -> str:
    event = {"kind": "notice", "host": "", "epoch": None, "data": {"message": note}, "sequence": number, "time": 1.0}
    return json.dumps(event)


def read(path: Path, text: str) -> EventLog:
    path.write_text(text, encoding="utf-8")
    log = read_event_log(path)
    assert log is not None
    return log


def numbers(log: EventLog) -> list[int]:
    return [event["sequence"] for event in log.events]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


def test_no_file_is_no_log(file: Path) -> None:
    assert read_event_log(file) is None


def test_an_empty_file_is_a_log_without_events(file: Path) -> None:
    assert read(file, "") == EventLog()


@pytest.mark.parametrize("cut", range(1, len(line(2))))
def test_a_torn_last_line_is_left_out_wherever_it_is_cut(file: Path, cut: int) -> None:
    log = read(file, f"{line(0)}\n{line(1)}\n{line(2)[:cut]}")
    assert (numbers(log), log.torn, log.damaged) == ([0, 1], True, 0)


def test_a_whole_last_line_needs_no_end(file: Path) -> None:
    log = read(file, f"{line(0)}\n{line(1)}")
    assert (numbers(log), log.torn) == ([0, 1], False)


@pytest.mark.parametrize(
    "noise", ['{"kind": "not', "[]", '"text"', "{}", '{"kind": "notice", "data": 1}', "\x00\ufffd"]
)
def test_what_is_no_event_is_counted_and_left_out(file: Path, noise: str) -> None:
    log = read(file, f"{line(0)}\n{noise}\n{line(1)}\n")
    assert (numbers(log), log.torn, log.damaged) == ([0, 1], False, 1)


def test_events_of_kinds_that_are_not_known_here_are_kept(file: Path) -> None:
    log = read(file, line(0).replace("notice", "of_tomorrow") + "\n")
    assert [event["kind"] for event in log.events] == ["of_tomorrow"]


def test_missing_numbers_are_lost_events(file: Path) -> None:
    assert read(file, f"{line(0)}\n{line(1)}\n").lost == 0
    assert read(file, f"{line(1)}\n{line(4)}\n").lost == 3


def test_a_number_that_comes_again_takes_back_what_came_after_it(file: Path) -> None:
    text = "\n".join([line(0), line(1), line(2, "killed"), line(3, "killed"), line(2, "resumed")])
    log = read(file, text)
    assert numbers(log) == [0, 1, 2]
    assert log.events[-1]["data"]["message"] == "resumed"


@given(st.integers(0, 400))
def test_every_prefix_of_a_log_can_be_read(tmp_path_factory: pytest.TempPathFactory, length: int) -> None:
    whole = "".join(f"{line(number, 'ä✓')}\n" for number in range(3)).encode()
    path = tmp_path_factory.mktemp("log") / "events.jsonl"
    path.write_bytes(whole[:length])
    log = read_event_log(path)
    assert log is not None
    assert numbers(log) == list(range(len(log.events)))
    assert len(log.events) >= whole[:length].count(b"\n")
    assert log.damaged == log.lost == 0
