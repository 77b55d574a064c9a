"""A log that is followed is, at every moment, what is read of it at once; and no line is parsed twice."""

import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esper_runs import event_follower
from esper_runs.event_log import read_event_log
from esper_runs.log_follower import LogFollower


def line(sequence: int, words: str = "") -> bytes:
    event = {"kind": "notice", "host": "", "epoch": None, "data": {"message": words}, "sequence": sequence, "time": 0.0}
    return json.dumps(event).encode() + b"\n"


#: What a run, a kill and a resume do to a log, and what a damaged disk may.
CHANGES = st.one_of(
    st.tuples(st.just("add"), st.integers(0, 30), st.text(max_size=5)),
    st.tuples(st.just("tear"), st.integers(1, 40), st.just("")),
    st.tuples(st.just("cut"), st.integers(0, 2000), st.just("")),
    st.tuples(st.just("replace"), st.integers(0, 3), st.just("")),
    st.tuples(st.just("garbage"), st.integers(0, 3), st.just("")),
    st.tuples(st.just("remove"), st.just(0), st.just("")),
)


def change(path, kind, number, words):
    if kind == "remove":
        path.unlink(missing_ok=True)
        return
    before = path.read_bytes() if path.exists() else b""
    after = {
        "add": before + line(number, words),
        "tear": before + line(len(before), words)[:number],
        "cut": before[:number],
        "replace": b"".join(line(n, "again") for n in range(number)),
        "garbage": before + b"\xff{]\n" * number,
    }[kind]
    if kind == "replace":
        fresh = path.with_name("fresh")
        fresh.write_bytes(after)
        fresh.replace(path)
    else:
        path.write_bytes(after)


@settings(max_examples=150, deadline=None)
@given(changes=st.lists(CHANGES, max_size=12))
def test_it_is_what_is_read_at_once(changes, tmp_path_factory):
    path = tmp_path_factory.mktemp("log") / "events.jsonl"
    follower = LogFollower()
    for it in changes:
        change(path, *it)
        assert follower.read(path) == read_event_log(path)


def test_only_what_is_new_is_parsed(tmp_path, monkeypatch):
    path, seen = tmp_path / "events.jsonl", []
    parse = event_follower.parse_event
    monkeypatch.setattr(event_follower, "parse_event", lambda text: seen.append(text) or parse(text))
    path.write_bytes(b"".join(map(line, range(100))))
    follower = LogFollower()
    assert len(follower.read(path).events) == len(seen) == 100
    with path.open("ab") as file:
        file.write(line(100) + line(101)[:20])
    assert len(follower.read(path).events) == 101
    assert len(seen) == 101
    with path.open("ab") as file:
        file.write(line(101)[20:])
    assert follower.read(path).events[-1]["sequence"] == 101
    assert len(seen) == 102


def test_a_resume_that_cuts_the_log_and_has_written_more_since_is_seen(tmp_path):
    path, follower = tmp_path / "events.jsonl", LogFollower()
    path.write_bytes(b"".join(line(n, "first") for n in range(5)))
    follower.read(path)
    with path.open("r+b") as file:  # in place, as a run does it
        file.truncate(len(line(0, "first")) * 3)
        file.seek(0, os.SEEK_END)
        file.write(b"".join(line(n, "again") for n in range(3, 9)))
    found = follower.read(path)
    assert [event["data"]["message"] for event in found.events] == ["first"] * 3 + ["again"] * 6


def test_a_log_that_is_larger_than_any_that_is_read_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("esper_runs.log_follower.LARGEST", 100)
    (tmp_path / "events.jsonl").write_bytes(line(0) * 2)
    with pytest.raises(OSError, match="at most 100 are read"):
        LogFollower().read(tmp_path / "events.jsonl")


def test_links_and_other_kinds_of_files_are_not_followed(tmp_path):
    (tmp_path / "secret").write_bytes(line(0))
    (tmp_path / "events.jsonl").symlink_to(tmp_path / "secret")
    with pytest.raises(OSError, match="symbolic link"):
        LogFollower().read(tmp_path / "events.jsonl")
