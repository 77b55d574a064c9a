"""A study: what is missing is run, what is there is kept, and failures stay in the table."""

import json
import os
import shutil
from time import monotonic

import pytest

from esper_app.api import PluginOptions
from esper_app.execution.run_lock import exclusive
from esper_core.api import EsperError
from esper_runs.run_directory import RunDirectory
from esper_studies import RunRequest, Study, figures_of, mixed_sources

#: A policy that raises, and one that takes its process with it, unless a file says otherwise.
BROKEN = """
import os
import signal
from pathlib import Path

from esper_core.api import Decision
from esper_core.hooks import hookimpl
from esper_core.specs import PolicySpec

ESPER_API = "2.0"


class Broken:
    def __init__(self, config, catalogue):
        pass

    def reset(self, begun):
        pass

    def decide(self, situations):
        if not Path(__file__).with_name("mended").exists():
            self.fail()
        return [Decision() for _ in situations]


class Raises(Broken):
    def fail(self):
        raise ValueError("it is broken")


class Kills(Broken):
    def fail(self):
        os.kill(os.getpid(), signal.SIGKILL)


@hookimpl
def esper_policies():
    yield PolicySpec(name="raises", summary="Raises.", factory=Raises)
    yield PolicySpec(name="kills", summary="Kills.", factory=Kills)
"""


def request(seed=0, **settings):
    return RunRequest.of("digits", {"epochs": 1, "twin": "none", "policy.name": "null", "seed": seed, **settings})


def told_of(root, requests, **options):
    """The runs of a study, and what it told of them."""
    told = []
    with Study(root, told=lambda run, done, of: told.append((run.cached, done, of)), **options) as study:
        return study.run(requests), told


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A study of two random seeds, one asked for twice."""
    root = tmp_path_factory.mktemp("study")
    runs, told = told_of(root, [request(0), request(1), request(0)])
    return root, runs, told


def test_what_is_missing_is_run_once(made):
    root, runs, told = made
    assert told == [(False, 1, 2), (False, 2, 2)]
    assert runs[0] == runs[2] != runs[1]
    assert {path.name for path in (root / "runs").iterdir() if path.name.startswith("digits-")} == {
        runs[0].name,
        runs[1].name,
    }
    for run in runs:
        assert run.result["outcome"] == "completed"
        assert (run.directory / "manifest.json").is_file()


def test_its_figures_are_those_of_the_run(made):
    _, runs, _ = made
    found, host = figures_of(runs[0]), runs[0].result["hosts"]["grown"]
    events = [json.loads(line) for line in (runs[0].directory / "events.jsonl").read_text().splitlines()]
    last = [event["data"] for event in events if event["kind"] == "epoch_completed"][-1]
    assert (found.loss, found.flops, found.epochs) == (host["test_loss"], host["compute"]["total"], 1)
    assert found.validation_loss == last["validation"]["loss"] != found.loss
    assert (found.germinated, found.kept) == (0, 0)


def test_what_is_there_is_not_run_again_and_needs_no_process(made, monkeypatch):
    root, runs, _ = made
    monkeypatch.setattr("subprocess.Popen", None)
    again, told = told_of(root, [request(1), request(0)])
    assert told == [(True, 1, 2), (True, 2, 2)]
    assert [run.name for run in again] == [runs[1].name, runs[0].name]
    assert again[1].result == runs[0].result


def test_a_study_can_be_moved(made, tmp_path, monkeypatch):
    root, runs, _ = made
    shutil.copytree(root, tmp_path / "moved", symlinks=True)
    monkeypatch.setattr("subprocess.Popen", None)
    assert told_of(tmp_path / "moved", [request(0)])[0][0].result == runs[0].result


def test_a_run_that_was_cut_is_run_again_from_its_start(made, tmp_path):
    root, runs, _ = made
    shutil.copytree(root, tmp_path / "cut", symlinks=True)
    (tmp_path / "cut" / "runs" / runs[0].name / "result.json").unlink()
    interrupted = tmp_path / "cut" / "runs" / runs[1].name / "result.json"
    interrupted.write_text(json.dumps({**runs[1].result, "outcome": "interrupted"}))
    again, told = told_of(tmp_path / "cut", [request(0), request(1)])
    assert [cached for cached, _, _ in told] == [False, False]
    for run, before in zip(again, runs, strict=False):
        assert figures_of(run).loss == figures_of(before).loss


def test_a_run_that_another_process_is_at_is_left_alone(made, tmp_path):
    root, runs, _ = made
    shutil.copytree(root, tmp_path / "killed", symlinks=True)
    directory = tmp_path / "killed" / "runs" / runs[0].name
    (directory / "result.json").unlink()
    with exclusive(RunDirectory(directory)), pytest.raises(EsperError) as caught:
        told_of(tmp_path / "killed", [request(0)])
    assert caught.value.code == "E514"
    assert (directory / "manifest.json").is_file()


def test_no_run_begins_after_the_deadline(tmp_path, monkeypatch):
    monkeypatch.setattr("subprocess.Popen", None)
    assert told_of(tmp_path, [request(0)], deadline=monotonic() - 1) == ([None], [])


@pytest.mark.parametrize(("settings", "code"), [({"epoch": 3}, "E201"), ({"epochs": 0}, "E202")])
def test_a_request_that_is_wrong_ends_the_study(settings, code, tmp_path, monkeypatch):
    monkeypatch.setattr("subprocess.Popen", None)
    with pytest.raises(EsperError) as caught:
        told_of(tmp_path, [request(**settings)])
    assert caught.value.code == code


def test_one_process_at_a_time_is_at_a_study(tmp_path):
    with Study(tmp_path), pytest.raises(EsperError) as caught, Study(tmp_path):
        pass
    assert caught.value.code == "E514"


def test_runs_of_changed_code_are_told_apart(made, tmp_path):
    root, runs, _ = made
    assert mixed_sources(runs) == []
    manifest = json.loads((runs[1].directory / "manifest.json").read_text())
    manifest["core"]["digest"] = "another"
    shutil.copytree(root, tmp_path / "mixed", symlinks=True)
    (tmp_path / "mixed" / "runs" / runs[1].name / "manifest.json").write_text(json.dumps(manifest))
    again, _ = told_of(tmp_path / "mixed", [request(0), request(1)])
    assert mixed_sources(again) == ["esper-core"]


@pytest.mark.slow
def test_what_fails_stays_in_the_study_and_ends_nothing(tmp_path):
    (tmp_path / "broken.py").write_text(BROKEN)
    plugins = PluginOptions(plugin_path=(tmp_path / "broken.py",))
    asked = [request(**{"policy.name": name}) for name in ("raises", "kills", "null")]
    raised, killed, sound = told_of(tmp_path / "study", asked, plugins=plugins)[0]
    assert (raised.result, raised.failure) == (None, "ValueError: it is broken")
    assert (killed.result, killed.failure.partition(";")[0]) == (None, "its process ended with signal 9")
    assert sound.failure is None
    assert figures_of(killed) is None
    (tmp_path / "mended").touch()
    again, told = told_of(tmp_path / "study", asked, plugins=plugins)
    assert [run.failure for run in again] == [raised.failure, killed.failure, None]
    assert all(cached for cached, _, _ in told)
    mended, _ = told_of(tmp_path / "study", asked, plugins=plugins, retry_failed=True)
    assert [run.failure for run in mended] == [None, None, None]
    assert not os.listdir(tmp_path / "study" / "failed")


@pytest.mark.slow
def test_a_network_that_diverges_has_failed(tmp_path):
    (run,), _ = told_of(tmp_path, [request(**{"optimizer.lr": 1e12})])
    assert run.result is None
    assert run.failure
    assert told_of(tmp_path, [request(**{"optimizer.lr": 1e12})])[0][0].failure == run.failure
