"""What a record holds of the last of several rounds."""

from attrs import evolve

from esper_core.leyline.events import EventKind
from esper_core.leyline.stages import Stage
from esper_runs.last_round import last_round
from esper_runs.run_directory import RunDirectory
from esper_runs.run_record import read_run_record


def test_earlier_rounds_are_left_out(make_run):
    files = make_run()
    for number in range(3):
        for epoch in range(2):
            files.epoch(epoch, {"a": Stage.DORMANT}, accuracy=number / 10)
            files.event(EventKind.NOTICE, {"message": f"{number}/{epoch}"}, epoch=epoch)
            files.event(EventKind.REWARD_COMPUTED, {"terms": {}, "total": number}, epoch=epoch)
        files.events = [evolve(e, round=number) if e.sequence >= 6 * number else e for e in files.events]
    part, rounds = last_round(read_run_record(RunDirectory(files.write())))
    assert rounds == 3
    assert [data["validation"]["accuracy"] for data in part.epochs["grown"]] == [0.2, 0.2]
    assert [event.data["message"] for event in part.timeline] == ["2/0", "2/1"]
    assert [reward["total"] for reward in part.rewards["grown"]] == [2, 2]


def test_a_record_of_one_round_is_left_as_it_is(make_run):
    record = read_run_record(RunDirectory(make_run().short_life().write()))
    assert last_round(record) == (record, 1)
