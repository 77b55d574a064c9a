"""What `esper watch` shows, as data: the figures are those of the run's record, however its files were read."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from esper_app_watch.kept_events import KEPT, EventFilter
from esper_app_watch.model import read, shown
from esper_app_watch.state import EPOCHS, RunState, Series
from esper_core.leyline.events import EventKind
from esper_core.leyline.records import to_json
from esper_core.leyline.stages import Stage
from esper_runs.metrics import MetricReader
from esper_runs.run_directory import RunDirectory
from esper_runs.run_follower import RunFollower
from esper_runs.run_record import read_run_record

_SPEC = importlib.util.spec_from_file_location("esper_test_watching", Path(__file__).with_name("watching.py"))
watching = sys.modules.setdefault("esper_test_watching", importlib.util.module_from_spec(_SPEC))
_SPEC.loader.exec_module(watching)
agree, eventful = watching.agree, watching.eventful


@pytest.fixture
def files(make_run):
    return eventful(make_run())


@pytest.mark.parametrize("over", [True, False])
def test_the_figures_are_those_of_the_record(files, over):
    directory = RunDirectory(files.write(result=files.result() if over else None))
    agree(read(directory), read_run_record(directory))


def test_the_figures_of_an_epoch_are_those_of_the_metrics(files):
    directory = RunDirectory(files.write())
    reader, newest = MetricReader(files.manifest()), {}
    for event in files.events:
        if event.kind is EventKind.EPOCH_COMPLETED:
            newest[event.host] = {point.name: point.value for point in reader.points(event)}
    assert {name: host.figures for name, host in read(directory).hosts.items()} == newest
    assert "gain" in newest["grown"]


def test_a_run_that_is_followed_is_shown_as_one_that_is_read_at_once(files):
    path = files.write()
    whole = (path / "events.jsonl").read_bytes()
    (path / "events.jsonl").write_bytes(b"")
    follower, state = RunFollower(RunDirectory(path)), RunState(path.name, str(path))
    for end in range(0, len(whole) + 700, 700):
        (path / "events.jsonl").write_bytes(whole[:end])
        state.follow(follower)
    (path / "result.json").write_text(json.dumps(files.result()))
    state.follow(follower)
    assert shown(state) == read(RunDirectory(path))
    agree(shown(state), read_run_record(RunDirectory(path)))


def test_a_resumed_run_goes_on_from_where_its_log_was_cut(files):
    path = files.write(result=files.result(outcome="interrupted"))
    follower, state = RunFollower(RunDirectory(path)), RunState(path.name, str(path))
    state.follow(follower)
    assert shown(state).outcome == "interrupted"
    kept = [event for event in files.events if event.epoch is None or event.epoch < 5][:-1]
    (path / "manifest.json").write_text(json.dumps(files.manifest(resumed=[{"epoch": 5}])))
    (path / "events.jsonl").write_text("".join(f"{to_json(event)}\n" for event in kept))
    state.follow(follower)
    run = shown(state)
    assert (run.outcome, run.epochs_done, run.events) == ("unfinished", 5, len(kept))
    agree(run, read_run_record(RunDirectory(path)))
    finished = kept[-1].__class__(kind=EventKind.RUN_FINISHED, data=files.result(), sequence=kept[-1].sequence + 1)
    with (path / "events.jsonl").open("a") as file:
        file.write(to_json(finished) + "\n")
    (path / "result.json").write_text(json.dumps(files.result()))
    state.follow(follower)
    assert shown(state).outcome == "completed"


def test_several_hosts_are_shown_with_their_own_twins(make_run):
    files = make_run()
    for epoch in range(2):
        for number in (1, 2):
            files.epoch(epoch, {"a": Stage.DORMANT}, host=f"twin-{number}", loss=1.0)
            files.epoch(epoch, {"a": Stage.DORMANT}, host=f"grown-{number}", loss=1.0 - 0.25 * number)
    run = read(RunDirectory(files.write()))
    assert run.growing == ("grown-1", "grown-2")
    assert [(run.hosts[name].twin, run.hosts[name].figures["gain"]) for name in run.growing] == [
        ("twin-1", 0.25),
        ("twin-2", 0.5),
    ]
    agree(run, read_run_record(RunDirectory(files.path)))


def test_of_a_training_the_present_round_is_shown_and_what_was_learned_from_all(make_run):
    files = make_run()
    for number in range(2):
        for epoch in range(3 - number):
            files.epoch(epoch, {"a": Stage.DORMANT}, accuracy=0.5 + number / 10)
            files.events[-1] = files.events[-1].__class__(
                **{name: getattr(files.events[-1], name) for name in ("kind", "host", "epoch", "data", "sequence")},
                round=number,
            )
        figures = {"entropy": 0.9 - number, "kl": 0.1, "anomaly: value collapse": float(number)}
        files.event(EventKind.ROUND_FINISHED, {"figures": figures, "rewards": {"grown": [1.0, 0.5]}}, host="")
    run = read(RunDirectory(files.write(files.manifest(training={"rounds": 4, "hosts": 1}))))
    assert (run.round, run.planned_rounds, run.epochs_done) == (1, 4, 2)
    assert run.hosts["grown"].curves["validation/accuracy"] == {0: 0.6, 1: 0.6}
    assert [(it.number, it.figures["entropy"], it.returns, it.anomalies) for it in run.rounds] == [
        (0, 0.9, {"grown": 1.5}, ()),
        (0, pytest.approx(-0.1), {"grown": 1.5}, ("value collapse",)),
    ]


def test_time_left_counts_the_rounds_to_come(make_run):
    files = make_run()
    for epoch in range(5):
        files.epoch(epoch, {"a": Stage.DORMANT})
        for split in ("train", "validation"):
            files.events[-1].data[split]["seconds"] = 2.0
    assert read(RunDirectory(files.write())).seconds_left == 5 * 4.0
    files.write(files.manifest(training={"rounds": 3, "hosts": 1}))
    assert read(RunDirectory(files.path)).seconds_left == 5 * 4.0 + 2 * 10 * 4.0


class TestDamage:
    def test_a_manifest_that_is_no_json_is_named(self, files):
        path = files.write()
        (path / "manifest.json").write_text("{")
        run = read(RunDirectory(path))
        assert [problem for problem in run.problems if problem.startswith("[E508]") and "manifest.json" in problem]
        assert "fix: " in run.problems[0]
        assert run.epochs_done == 10

    def test_lines_that_are_no_events_are_counted_as_in_the_record(self, files):
        directory = RunDirectory(files.write(tail='nonsense\n{"kind": "no'))
        sentences = read_run_record(directory).missing_data
        assert [it for it in sentences if "damaged" in it or "incomplete" in it] == [*read(directory).problems]

    def test_an_event_that_holds_something_else_is_named_and_left_out(self, files):
        files.event(EventKind.EPOCH_COMPLETED, {"train": 3}, epoch=10)
        files.event(EventKind.SEED_TRANSITION, {"slot": ["a"]}, epoch=10)
        files.event(EventKind.ROLLBACK, {"slots": None}, epoch=10)
        run = read(RunDirectory(files.write()))
        assert run.problems[0].startswith("[E508] 3 events cannot be understood")
        assert run.epochs_done == 10

    def test_a_result_of_the_wrong_shape_is_named(self, files):
        directory = RunDirectory(files.write(result={"outcome": "completed", "hosts": 5, "seeds": {}}))
        assert any(problem.startswith("[E508] the result") for problem in read(directory).problems)

    def test_a_run_that_is_taken_away_is_named_and_stays_shown(self, files, tmp_path):
        path = files.write()
        follower, state = RunFollower(RunDirectory(path)), RunState(path.name, str(path))
        state.follow(follower)
        path.rename(tmp_path / "elsewhere")
        state.follow(follower)
        run = shown(state)
        assert "[E508]" in run.problems[0]
        assert run.epochs_done == 10

    def test_a_link_out_of_the_directory_is_not_followed(self, files, tmp_path):
        path = files.write()
        (path / "events.jsonl").rename(tmp_path / "elsewhere")
        (path / "events.jsonl").symlink_to(tmp_path / "elsewhere")
        run = read(RunDirectory(path))
        assert "symbolic link" in run.problems[0]
        assert run.events == 0


class TestKeptEvents:
    def test_the_newest_of_each_kind_are_kept_and_all_are_counted(self, make_run):
        files = make_run()
        files.event(EventKind.GOVERNOR_INTERVENED, {"mode": "stopped", "reason": "rare"})
        for number in range(KEPT + 20):
            files.event(EventKind.NOTICE, {"message": f"notice {number}"}, host="")
        state = RunState("x", "x")
        state.follow(RunFollower(RunDirectory(files.write())))
        rows = [*state.events.rows(EventFilter())]
        assert (state.events.total, len(rows)) == (KEPT + 21, KEPT + 1)
        assert [rows[0].text, rows[-1].text] == [f"notice {KEPT + 19}", "the governor is stopped: rare"]

    @pytest.mark.parametrize(
        ("typed", "expected"),
        [
            ("", lambda event: True),
            ("culled TIMEOUT", lambda event: event.data.get("target") == "CULLED"),
            ("kind=reward_computed", lambda event: event.kind == EventKind.REWARD_COMPUTED),
            ("host=twin epoch=9-", lambda event: event.host == "twin" and event.epoch >= 8),
            ("slot=b", lambda event: event.data.get("slot") == "b"),
            ("seed=a-0 epoch=3", lambda event: event.data.get("seed_id") == "a-0" and event.epoch == 2),
            ("kind=nothing", lambda event: False),
        ],
    )
    def test_a_filter_lets_through_what_fits(self, files, typed, expected):
        state = RunState("x", "x")
        state.follow(RunFollower(RunDirectory(files.write())))
        found = [row.sequence for row in state.events.rows(EventFilter.parse(typed))]
        assert found == [event.sequence for event in reversed(files.events) if expected(event)]

    def test_a_range_of_epochs_that_is_none_is_refused(self):
        with pytest.raises(ValueError, match="epoch"):
            EventFilter.parse("epoch=x")


def test_a_long_curve_loses_every_second_point_and_no_more():
    series: Series[float] = Series()
    for epoch in range(EPOCHS + 1):
        series.put(epoch, float(epoch))
    assert series.values == {epoch: float(epoch) for epoch in range(0, EPOCHS + 1, 2)}


def test_what_is_shown_needs_neither_torch_nor_a_terminal():
    code = "import sys, esper_app_watch.model; print({'torch', 'rich', 'textual', 'cattrs'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_of_many_seeds_and_gates_the_newest_are_remembered(make_run, monkeypatch):
    monkeypatch.setattr("esper_app_watch.state.SEEDS", 3)
    monkeypatch.setattr("esper_app_watch.state.GATES", 3)
    files = make_run()
    gate = {"gate": "G0", "passed": True, "reason": "it came", "evidence": {}}
    for number in range(5):
        more = {"number": number, "epoch": number}
        files.transition("a", Stage.DORMANT, Stage.GERMINATED, **more)
        files.events[-1].data["gates"] = [gate]
        files.transition("a", Stage.GERMINATED, Stage.CULLED, **more)
    run = read(RunDirectory(files.write()))
    assert [seed["seed_id"] for seed in run.seeds] == ["a-2", "a-3", "a-4"]
    assert [row[0] for row in run.gates.texts] == ["a-2", "a-3", "a-4"]
