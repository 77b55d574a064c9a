"""A log that is followed is told as one that is read at once, however it grows, is cut, or is written again."""

import json
import os

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from esper_runs.event_follower import EventFollower
from esper_runs.event_log import read_event_log
from esper_runs.reading import NotAFileError


def line(number: int, **more) -> bytes:
    event = {"kind": "notice", "host": "", "data": {"message": "look"}, "sequence": number, **more}
    return json.dumps(event).encode() + b"\n"


class Listener:
    """Puts together what a follower tells."""

    def __init__(self, path, **options) -> None:
        self.follower = EventFollower(path, **options)
        self.events, self.restarts = [], 0

    def listen(self, most: int = 1 << 20) -> "Listener":
        while True:
            news = self.follower.read(most)
            if news.restarted:
                self.events.clear()
                self.restarts += 1
            self.events += news.events
            if not news.left:
                return self

    @property
    def numbers(self):
        return [event["sequence"] for event in self.events]


@pytest.fixture
def log(tmp_path):
    return tmp_path / "events.jsonl"


def test_each_event_is_told_once(log):
    log.write_bytes(line(0) + line(1))
    listener = Listener(log).listen()
    with log.open("ab") as file:
        file.write(line(2))
    assert listener.listen().numbers == [0, 1, 2]
    assert listener.listen().numbers == [0, 1, 2]
    assert listener.restarts == 0


def test_an_incomplete_line_waits_for_its_rest(log):
    whole = line(1)
    log.write_bytes(line(0) + whole[:20])
    listener = Listener(log).listen()
    assert listener.numbers == [0]
    assert (listener.follower.torn, listener.follower.damaged) == (True, 0)
    with log.open("ab") as file:
        file.write(whole[20:])
    assert listener.listen().numbers == [0, 1]
    assert (listener.follower.torn, listener.follower.damaged) == (False, 0)


def test_a_last_event_without_the_end_of_its_line_is_told_once(log):
    log.write_bytes(line(0) + line(1).rstrip())
    listener = Listener(log).listen()
    assert listener.numbers == [0, 1]
    assert not listener.follower.torn
    with log.open("ab") as file:
        file.write(b"\n" + line(2))
    assert listener.listen().numbers == [0, 1, 2]


def test_what_only_looked_like_a_whole_line_is_taken_back(log):
    log.write_bytes(line(0) + line(1).rstrip())
    listener = Listener(log).listen()
    with log.open("ab") as file:
        file.write(b"and more\n" + line(2))
    assert listener.listen().numbers == [0, 2]
    assert listener.follower.damaged == 1


def test_a_log_that_a_resumed_run_has_cut_is_told_from_its_beginning(log):
    log.write_bytes(b"".join(map(line, range(5))))
    listener = Listener(log).listen()
    os.truncate(log, len(line(0)) * 2)
    assert listener.listen().numbers == [0, 1]
    assert listener.restarts == 1


def test_a_log_that_was_cut_and_has_grown_beyond_is_noticed(log):
    log.write_bytes(b"".join(map(line, range(3))))
    listener = Listener(log).listen()
    with log.open("r+b") as file:
        file.seek(len(line(0)))
        file.write(b"".join(line(number, epoch=7) for number in range(1, 6)))
    assert listener.listen().numbers == [0, 1, 2, 3, 4, 5]
    assert [event.get("epoch") for event in listener.events] == [None, 7, 7, 7, 7, 7]


def test_another_file_in_its_place_is_noticed(log):
    log.write_bytes(line(0) + line(1))
    listener = Listener(log).listen()
    other = log.with_name("other")
    other.write_bytes(line(0) + line(1) + line(2, epoch=3))
    other.replace(log)
    assert listener.listen().numbers == [0, 1, 2]
    assert listener.restarts == 1


def test_a_number_that_is_given_out_again_takes_back_what_was_told(log):
    log.write_bytes(b"".join(map(line, range(5))))
    listener = Listener(log).listen()
    with log.open("ab") as file:
        file.write(line(2, epoch=9))
    assert listener.listen().numbers == [0, 1, 2]
    assert listener.events[-1]["epoch"] == 9
    assert listener.restarts == 1


def test_damage_is_counted_and_left_out(log):
    log.write_bytes(line(0) + b"nonsense\n" + line(3) + b"[1]\n")
    listener = Listener(log).listen()
    assert listener.numbers == [0, 3]
    assert (listener.follower.damaged, listener.follower.lost) == (2, 2)


def test_a_line_without_end_is_not_kept(log, monkeypatch):
    monkeypatch.setattr("esper_runs.event_follower._LONGEST_LINE", 1000)
    log.write_bytes(line(0) + b"x" * 5000)
    listener = Listener(log).listen(500)
    with log.open("ab") as file:
        file.write(b"x" * 5000 + b"\n" + line(1))
    assert listener.listen(500).numbers == [0, 1]
    assert listener.follower.damaged == 1


def test_there_may_be_no_log_yet(log):
    listener = Listener(log)
    assert listener.follower.read().missing
    log.write_bytes(line(0))
    assert listener.listen().numbers == [0]


def test_a_link_that_leads_elsewhere_is_refused(log, tmp_path):
    (tmp_path / "elsewhere").write_bytes(line(0))
    log.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NotAFileError):
        EventFollower(log, inside=tmp_path).read()


NOISE = st.sampled_from([b"nonsense\n", b"\n", b"{}\n", line(1)[:9], line(2)[:-1]])
PIECES = st.lists(st.one_of(st.integers(0, 6).map(line), NOISE), max_size=12)


@example([line(0), line(2), line(2)[:-1], line(0)], 300, 3)  # a line that goes on had a number that was given out
@settings(max_examples=100, deadline=None)
@given(pieces=PIECES, most=st.integers(40, 300), seen=st.integers(0, 12))
def test_what_is_told_is_what_is_read_at_once(tmp_path_factory, pieces, most, seen):
    path = tmp_path_factory.mktemp("log") / "events.jsonl"
    path.write_bytes(b"".join(pieces[:seen]))
    listener = Listener(path).listen(most)
    with path.open("ab") as file:
        file.write(b"".join(pieces[seen:]))
    listener.listen(most)
    expected = read_event_log(path)
    told = listener.follower
    assert listener.events == [*expected.events]
    assert (told.damaged, told.lost, told.torn) == (expected.damaged, expected.lost, expected.torn)
