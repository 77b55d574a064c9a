import json
import subprocess
import sys

import pytest

from esper_core.leyline.actions import Op
from esper_core.leyline.errors import EsperError
from esper_core.leyline.events import EventKind
from esper_core.leyline.records import to_json
from esper_core.leyline.stages import Stage
from esper_runs.run_directory import RunDirectory
from esper_runs.run_record import RunRecord, Selection, read_run_record, select


def record_of(files, **written) -> RunRecord:
    return read_run_record(RunDirectory(files.write(**written)))


@pytest.fixture
def files(make_run):
    return make_run().short_life()


def test_a_finished_run_is_told_by_its_result(files):
    record = record_of(files, result=files.result(seeds=[{"seed_id": "a-0", "slot": "a"}]))
    assert (record.name, record.outcome, record.epochs_done) == ("digits-1", "completed", 10)
    assert record.growing == ("grown",)
    assert record.slots("grown") == ("a", "b")
    assert [seed["seed_id"] for seed in record.seeds] == ["a-0"]
    assert [data["epoch"] for data in record.epochs["twin"]] == list(range(10))
    assert record.missing_data == ()


def test_a_run_without_a_result_tells_its_seeds_from_its_events(files):
    record = record_of(files)
    assert record.outcome == "unfinished"
    first, second = record.seeds
    assert (first["seed_id"], first["final_stage"], first["germinated_epoch"], first["ended_epoch"]) == (
        "a-0",
        "FOSSILIZED",
        2,
        7,
    )
    # As last measured, not as it was when it was fossilized.
    assert first["ablation"]["mean"] == pytest.approx(0.19)
    assert first["gain"]["mean"] == pytest.approx(0.09)
    assert (second["final_stage"], second["ended_epoch"], second["reason"]) == ("CULLED", 6, "it did not learn")
    assert second["ablation"] is None
    assert any("is still going on, or it was killed" in gap for gap in record.missing_data)


def test_a_live_seed_of_a_killed_run_has_no_end(files):
    files.events = [event for event in files.events if (event.epoch or 0) < 6]
    record = record_of(files)
    first = record.seeds[0]
    assert (first["final_stage"], first["ended_epoch"], first["parameters"]) == ("PROBATIONARY", None, 592)
    assert first["epochs_by_stage"] == {"GERMINATED": 1, "TRAINING": 1, "BLENDING": 1}
    assert record.epochs_done == 6


def test_a_seed_that_a_rollback_has_brought_back_has_not_ended(files):
    rollback = {"attempt": 1, "from_epoch": 9, "to_epoch": 5, "reason": "the loss is nan"}
    files.event(EventKind.ROLLBACK, {**rollback, "slots": {"a": "PROBATIONARY", "b": "RESETTING"}}, epoch=9)
    first, second = record_of(files).seeds
    assert (first["final_stage"], first["ended_epoch"]) == ("PROBATIONARY", None)
    assert (second["final_stage"], second["ended_epoch"], second["reason"]) == ("CULLED", 6, "it did not learn")


def test_a_killed_run_is_told_up_to_its_torn_line(files):
    record = record_of(files, tail='{"kind": "epoch_comp')
    assert record.epochs_done == 10
    assert any("incomplete" in gap for gap in record.missing_data)


def test_the_result_in_the_last_event_stands_for_a_missing_file(files):
    files.event(EventKind.RUN_FINISHED, files.result(), host="")
    record = record_of(files)
    assert record.outcome == "completed"
    assert record.missing_data == ()


def test_the_result_of_an_interrupted_run_ends_when_it_is_resumed(files):
    interrupted = files.result(outcome="interrupted")
    resumed = files.manifest(resumed=[{"epoch": 5, "command": []}])
    assert record_of(files, result=interrupted).outcome == "interrupted"
    assert record_of(files, manifest=resumed, result=interrupted).outcome == "unfinished"
    files.event(EventKind.RUN_FINISHED, files.result(), host="")
    assert record_of(files, manifest=resumed, result=files.result()).outcome == "completed"


def test_every_verdict_is_told_once_though_a_log_may_hold_it_twice(files):
    before = len([h for h in record_of(files).timeline if h.kind == EventKind.GATES_EVALUATED])
    files.event(EventKind.GATES_EVALUATED, {"slot": "b", "results": []}, epoch=9)
    told = [h for h in record_of(files).timeline if h.kind == EventKind.GATES_EVALUATED]
    assert len(told) == before == 4
    assert {(h.slot, h.seed_id, h.data["gate"]) for h in told} == {("a", "a-0", "G2"), ("b", "b-0", "G2")}


def test_actions_and_denials_know_their_slot_and_seed(files):
    files.action(Op.CULL, 9, "a", "it is in the way")
    files.denial(9, "conservative")
    timeline = record_of(files).timeline
    germinated = next(h for h in timeline if h.kind == EventKind.ACTION_DECIDED and h.data["op"] == "GERMINATE")
    assert (germinated.slot, germinated.seed_id) == ("a", "a-0")
    denied = timeline[-1]
    assert (denied.slot, denied.data["action"]["op"], denied.data["reason"]) == ("a", "CULL", "conservative")


def test_a_part_holds_one_slot_one_seed_some_epochs(files):
    record = record_of(files)
    of_b = select(record, Selection(slot="b"))
    assert {h.slot for h in of_b.timeline} == {"b"}
    assert [seed["slot"] for seed in of_b.seeds] == ["b"]
    assert of_b.epochs == record.epochs
    late = select(record, Selection(first=6, last=8))
    assert [data["epoch"] for data in late.epochs["grown"]] == [6, 7, 8]
    assert {h.epoch for h in late.timeline} == {6, 7}
    assert {h.seed_id for h in select(record, Selection(seed_id="a-0")).timeline} == {"a-0"}
    assert select(record, Selection()) == record


def test_the_whole_story_is_data(files):
    data = json.loads(to_json(record_of(files, result=files.result())))
    assert data["manifest"]["seed"] == 7
    assert data["epochs"]["grown"][3]["seeds"][0]["alpha"] == 0.25
    assert data["timeline"][0]["kind"] == "action_decided"


@pytest.mark.parametrize(
    ("config", "kept", "words"),
    [
        ({"telemetry": "minimal"}, {EventKind.RUN_STARTED, EventKind.SEED_FINISHED}, "Telemetry was minimal"),
        ({"telemetry": "off"}, set(), "Telemetry was off"),
        ({}, {EventKind.RUN_STARTED}, "No epoch has been completed"),
        ({"twin": False}, set(EventKind), "There was no twin"),
    ],
)
def test_what_is_missing_is_said(files, config, kept, words):
    files.events = [event for event in files.events if event.kind in kept]
    record = record_of(files, manifest=files.manifest(config=config), result=files.result())
    assert any(words in gap for gap in record.missing_data)


@pytest.mark.parametrize(
    ("sinks", "words"),
    [
        ({"names": ["console"]}, "was not used"),
        ({"names": ["jsonl"], "jsonl": {"path": "/else/where.jsonl"}}, "/else/where.jsonl"),
        ({"names": ["jsonl"], "jsonl": {"path": None}}, "the file is gone"),
    ],
)
def test_a_missing_log_is_explained(files, sinks, words):
    path = files.write(manifest=files.manifest(config={"sinks": sinks}), result=files.result())
    (path / "events.jsonl").unlink()
    record = read_run_record(RunDirectory(path))
    assert record.epochs == {}
    assert record.epochs_done == 10
    assert [words in gap for gap in record.missing_data] == [True]


def test_holes_and_damage_in_the_log_are_counted(files):
    del files.events[3:5]
    record = record_of(files, tail="{}\n", result=files.result())
    assert "2 events are missing" in " ".join(record.missing_data)
    assert "1 lines of events.jsonl are damaged" in " ".join(record.missing_data)


@pytest.mark.parametrize("name", ["manifest.json", "result.json"])
@pytest.mark.parametrize("content", ["", "{", "[]", '"x"'])
def test_a_damaged_file_is_named(files, name, content):
    path = files.write(result=files.result())
    (path / name).write_text(content)
    with pytest.raises(EsperError) as caught:
        read_run_record(RunDirectory(path))
    assert caught.value.code == "E508"
    assert name in str(caught.value)


def test_a_result_without_its_parts_is_damaged(files):
    path = files.write(result={"outcome": "completed"})
    with pytest.raises(EsperError) as caught:
        read_run_record(RunDirectory(path))
    assert caught.value.code == "E508"


def test_stages_of_a_log_are_stages(files):
    record = record_of(files)
    assert {name for data in record.epochs["grown"] for name in data["slots"].values()} <= set(Stage.__members__)


def test_reading_needs_neither_torch_nor_plugins(files):
    path = files.write(result=files.result())
    code = (
        "import sys; from pathlib import Path; from esper_runs.run_directory import RunDirectory\n"
        "from esper_runs.run_record import read_run_record; import esper_app_report.pruning\n"
        f"assert read_run_record(RunDirectory(Path({str(path)!r}))).outcome == 'completed'\n"
        "print(sorted(set(sys.modules) & {'torch', 'numpy', 'pluggy', 'rich'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
