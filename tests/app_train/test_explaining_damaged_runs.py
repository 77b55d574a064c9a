"""How long a replay will take, told by a record of events that somebody has changed."""

import os

import pytest

from esper_app_train.explanation import seconds_per_epoch
from esper_core.api import EsperError, to_json
from esper_runs.run_directory import RunDirectory


def epoch_end(sequence, epoch, time, **changes):
    kind = "epoch_completed"
    return {"kind": kind, "host": "grown", "data": {}, "sequence": sequence, "epoch": epoch, "time": time} | changes


def run(folder, *events):
    (folder / "events.jsonl").write_text("".join(to_json(event) + "\n" for event in events))
    return RunDirectory(folder)


def test_the_median_of_what_epochs_took(tmp_path):
    times = (10.0, 12.0, 13.0, 14.0)
    ends = [epoch_end(number, number, time) for number, time in enumerate(times)]
    assert seconds_per_epoch(run(tmp_path, *ends)) == 1.0


@pytest.mark.parametrize(
    "times",
    [(), (10.0,), (12.0, 10.0), ("10", None), (-1.7e308, 1.7e308)],
    ids=["none", "one", "back", "texts", "huge"],
)
def test_times_that_say_nothing(tmp_path, times):
    ends = [epoch_end(number, number, time) for number, time in enumerate(times)]
    assert seconds_per_epoch(run(tmp_path, *ends)) is None


def test_no_record(tmp_path):
    assert seconds_per_epoch(RunDirectory(tmp_path)) is None


@pytest.mark.parametrize("changes", [{"epoch": []}, {"epoch": None}, {"round": {}}, {"epoch": "first"}])
def test_events_of_another_shape(tmp_path, changes):
    directory = run(tmp_path, epoch_end(0, 0, 10.0), epoch_end(1, 1, 11.0) | changes)
    with pytest.raises(EsperError) as caught:
        seconds_per_epoch(directory)
    assert caught.value.code == "E508"


def test_an_event_without_an_epoch(tmp_path):
    event = epoch_end(0, 0, 10.0)
    del event["epoch"]
    with pytest.raises(EsperError, match="epoch"):
        seconds_per_epoch(run(tmp_path, event))


@pytest.mark.parametrize("put", [os.mkfifo, os.mkdir, lambda path: os.symlink(os.devnull, path)])
def test_something_else_in_its_place(tmp_path, put):
    put(tmp_path / "events.jsonl")
    with pytest.raises(EsperError) as caught:
        seconds_per_epoch(RunDirectory(tmp_path))
    assert caught.value.code == "E508"
