import os
import subprocess
import sys
from pathlib import Path

import pytest

from esper_core.leyline.errors import EsperError
from esper_core.leyline.events import EventKind
from esper_runs import run_list
from esper_runs.run_figures import hosts_in_words, means_in_words
from esper_runs.run_list import DAMAGED, last_of, list_runs, locate_run, summary


def test_a_finished_run_is_summed_up(make_run):
    files = make_run().short_life()
    found = summary(files.write(result=files.result()))
    assert (found.task, found.policy, found.seed, found.outcome) == ("digits", "heuristic", 7, "completed")
    assert (found.epochs, found.planned_epochs, found.parameters) == (10, 10, 1030)
    assert (found.accuracy, found.twin_accuracy) == (0.9, 0.8)
    assert found.difference == pytest.approx(0.1)
    assert found.started == 1_700_000_000
    assert (hosts_in_words(found), means_in_words(found)) == ("1", "")


def test_the_log_of_a_finished_run_is_not_read(make_run, monkeypatch):
    files = make_run().short_life()
    path = files.write(result=files.result())
    monkeypatch.setattr(run_list, "_progress", lambda log: pytest.fail(f"{log} was read"))
    assert summary(path).epochs == 10


def test_twins_with_numbers_are_no_grown_hosts(make_run):
    files = make_run()
    result = files.result()
    result["hosts"] = {name: result["hosts"][name[:-2]] for name in ("grown-1", "twin-1")}
    found = summary(files.write(result=result))
    assert (found.accuracy, found.parameters) == (0.9, 1030)


def test_of_several_hosts_there_are_means_over_those_that_were_measured(make_run):
    files = make_run()
    result = files.result()
    one, twin = result["hosts"]["grown"], result["hosts"]["twin"]
    result["hosts"] = {f"grown-{it}": dict(one) for it in (1, 2, 3)} | {f"twin-{it}": dict(twin) for it in (1, 2, 3)}
    result["twins"] = {f"grown-{it}": f"twin-{it}" for it in (1, 2, 3)}
    result["differences"] = {f"grown-{it}": dict(result["difference"]) for it in (1, 2, 3)}
    result["hosts"]["grown-2"] |= {"test_accuracy": 0.8, "parameters": 2030}
    result["differences"]["grown-2"]["test_accuracy"] = 0.0
    found = summary(files.write(result=result))
    assert (found.hosts, found.measured, hosts_in_words(found)) == (3, 3, "3")
    assert means_in_words(found) == "mean of 3 hosts"
    assert found.accuracy == pytest.approx(0.8667, abs=1e-4)
    assert (found.twin_accuracy, found.difference) == (pytest.approx(0.8), pytest.approx(0.2 / 3))
    assert found.parameters == 1363
    # One that diverged has no share in a mean, and its twin has none either.
    result["hosts"]["grown-3"]["test_accuracy"] = "NaN"
    found = summary(files.write(result=result))
    assert (hosts_in_words(found), means_in_words(found)) == ("2 of 3", "mean of 2 of 3 hosts")
    assert (found.accuracy, found.difference) == (pytest.approx(0.85), pytest.approx(0.05))


def test_without_a_twin_there_is_no_difference(make_run):
    files = make_run()
    found = summary(files.write(result=files.result(twin=None)))
    assert (found.accuracy, found.twin_accuracy, found.difference) == (0.9, None, None)


def test_without_an_accuracy_there_are_losses(make_run):
    files = make_run()
    result = files.result()
    for host in result["hosts"].values():
        host["test_accuracy"] = None
    result["difference"]["test_accuracy"] = None
    found = summary(files.write(result=result))
    assert (found.accuracy, found.twin_accuracy, found.difference) == (None, None, None)
    assert (found.loss, found.twin_loss, found.loss_difference) == (0.5, 0.5, -0.1)


def test_a_killed_run_tells_its_epochs_from_the_end_of_its_log(make_run, monkeypatch):
    monkeypatch.setattr(run_list, "_TAIL_BYTES", 3000)
    files = make_run().short_life()
    found = summary(files.write(tail='{"kind": "epoch_'))
    assert found.bytes > 2 * 3000
    assert (found.outcome, found.epochs, found.accuracy) == ("unfinished", 10, None)


def test_a_run_without_a_log_tells_no_epochs(make_run):
    path = make_run().write()
    (path / "events.jsonl").unlink()
    assert (summary(path).outcome, summary(path).epochs) == ("unfinished", None)


def test_a_resumed_run_has_no_result_until_it_is_over(make_run):
    files = make_run().short_life()
    interrupted = files.result(outcome="interrupted")
    resumed = files.manifest(resumed=[{"epoch": 5, "command": []}])
    assert summary(files.write(manifest=resumed, result=interrupted)).outcome == "unfinished"
    files.event(EventKind.RUN_FINISHED, interrupted, host="")
    assert summary(files.write(manifest=resumed, result=interrupted)).outcome == "interrupted"


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"config": {}}'])
@pytest.mark.parametrize("name", ["manifest.json", "result.json"])
def test_a_damaged_run_is_listed_as_such(make_run, name, content):
    files = make_run()
    path = files.write(result=files.result())
    (path / name).write_text(content)
    assert [(run.name, run.outcome) for run in list_runs(path.parent)] == [("digits-1", DAMAGED)]


def test_only_runs_are_listed(make_run, tmp_path):
    path = make_run().write()
    (path.parent / "notes").mkdir()
    (path.parent / "file.txt").write_text("x")
    os.symlink(path.name, path.parent / "last")
    os.symlink(path, path.parent / "link")
    assert [run.name for run in list_runs(path.parent)] == ["digits-1"]
    assert list_runs(tmp_path / "nowhere") == []


def test_last_is_known_as_a_link_and_as_a_file(make_run):
    runs = make_run().write().parent
    assert last_of(runs) is None
    os.symlink("digits-1", runs / "last")
    assert last_of(runs) == "digits-1"
    assert [run.last for run in list_runs(runs)] == [True]
    (runs / "last").unlink()
    (runs / "last").write_text("digits-1\n")
    assert last_of(runs) == "digits-1"
    (runs / "last").write_text("digits-9\n")
    assert last_of(runs) is None


def test_a_run_is_located_by_name_and_by_path(make_run, tmp_path, monkeypatch):
    path = make_run().write()
    os.symlink("digits-1", path.parent / "last")
    monkeypatch.chdir(tmp_path)
    for given in ("digits-1", "last", "runs/digits-1", "runs/last", "./runs/digits-1", str(path)):
        assert locate_run(Path(given)).path == path.resolve()
    monkeypatch.chdir(path.parent)
    assert locate_run(Path("digits-1")).path == path.resolve()
    assert locate_run(Path("last")).path == path.resolve()
    with pytest.raises(EsperError, match="no run"):
        locate_run(Path("digits-2"))


@pytest.mark.parametrize("change", [{"seed": "7"}, {"seed": True}, {"started": 5}, {"config": {"task": 5}}])
def test_a_manifest_that_holds_something_else_is_damaged(make_run, change):
    files = make_run()
    manifest = files.manifest()
    path = files.write(manifest | change)
    assert summary(path).outcome == DAMAGED


def test_a_list_loads_nothing_that_takes_long():
    code = "import sys, esper_runs.run_list; print({'torch', 'cattrs', 'rich', 'secrets'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
