import json
import os
import shutil
from pathlib import Path

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from esper_app_report.pruning import PruneRule, mend_last, prune_plan, remove_run
from esper_core.leyline.errors import EsperError
from esper_runs.run_list import RunSummary

DAY, NOW = 86400.0, 100 * 86400.0


def run(name: str, age_days: float, outcome: str = "completed", **more) -> RunSummary:
    started = NOW - age_days * DAY
    facts = {"directory": f"runs/{name}", "started": started, "written": started, "bytes": 1} | more
    return RunSummary(name=name, outcome=outcome, **facts)


def doomed(runs, **rule) -> list[str]:
    return [found.name for found in prune_plan(runs, PruneRule(**rule), NOW).doomed]


RUNS = [run("d", 0.5, last=True), run("c", 1, "interrupted"), run("b", 10), run("a", 20, "interrupted")]


def test_conditions():
    assert doomed(RUNS, keep=1) == ["c", "b", "a"]
    assert doomed(RUNS, keep=3) == ["a"]
    assert doomed(RUNS, older_than_days=5) == ["b", "a"]
    assert doomed(RUNS, outcomes=("interrupted",)) == ["c", "a"]
    assert doomed(RUNS, outcomes=("interrupted",), older_than_days=5) == ["a"]
    assert doomed(RUNS, keep=2, outcomes=("interrupted",)) == ["a"]
    assert doomed(RUNS, names=("b",)) == ["b"]
    assert doomed(RUNS, names=("b",), outcomes=("interrupted",)) == []


def test_the_last_run_goes_only_if_it_is_named():
    assert doomed(RUNS, keep=0) == ["c", "b", "a"]
    assert doomed(RUNS, names=("d",)) == ["d"]


def test_a_run_that_may_still_go_on_goes_only_if_it_is_named():
    quiet, busy = run("q", 1, "unfinished"), run("r", 1, "unfinished", written=NOW - 60)
    assert doomed([busy, quiet], keep=0) == ["q"]
    assert doomed([busy, quiet], names=("r",)) == ["r"]


@given(st.integers(0, 5), st.none() | st.floats(0, 30), st.sets(st.sampled_from(["completed", "interrupted"])))
def test_more_conditions_never_remove_more(keep, days, outcomes):
    everything = set(doomed(RUNS, keep=keep))
    assert set(doomed(RUNS, keep=keep, older_than_days=days, outcomes=tuple(outcomes))) <= everything
    assert "d" not in everything


def test_a_run_is_removed_with_everything_in_it_and_nothing_else(make_run, tmp_path):
    path = make_run().write()
    (path / "checkpoints" / "1").mkdir(parents=True)
    (path / "checkpoints" / "1" / "weights").write_text("x")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    os.symlink(outside, path / "link")
    os.symlink(outside / "precious", path / "file-link")
    remove_run(path)
    assert not path.exists()
    assert (outside / "precious").read_text() == "x"


@pytest.mark.parametrize(
    "manifest",
    ["", "[]", "{}", '{"format": 1, "name": "x", "started": "", "config": {}, "core": {"distribution": "webpack"}}'],
)
def test_what_is_no_run_of_ours_is_never_removed(tmp_path, manifest):
    folder = tmp_path / "runs" / "site"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(manifest)
    with pytest.raises(EsperError) as caught:
        remove_run(folder)
    assert caught.value.code == "E501"
    assert (folder / "manifest.json").read_text() == manifest
    summary = run("site", 50, "damaged", directory=str(folder))
    plan = prune_plan([summary], PruneRule(names=("site",)), NOW)
    assert plan.doomed == ()
    assert "not that of a run of Esper" in plan.spared[0][1]


def test_a_link_to_a_run_is_not_followed(make_run, tmp_path):
    path = make_run().write()
    os.symlink(path, tmp_path / "link")
    with pytest.raises(EsperError):
        remove_run(tmp_path / "link")
    assert (path / "manifest.json").is_file()


def test_a_removal_that_fails_half_way_can_be_tried_again(make_run, monkeypatch):
    path = make_run().write()
    (path / "checkpoints").mkdir()

    def refuse(_: Path) -> None:
        raise OSError(13, "Permission denied")

    monkeypatch.setattr(shutil, "rmtree", refuse)
    with pytest.raises(EsperError, match="cannot be removed"):
        remove_run(path)
    assert json.loads((path / "manifest.json").read_text())["name"] == "digits-1"
    monkeypatch.undo()
    remove_run(path)
    assert not path.exists()


@pytest.mark.parametrize("as_link", [True, False])
def test_last_is_mended_where_it_leads_nowhere(make_run, as_link):
    runs = make_run("a-1").write().parent
    files = make_run("a-2")
    files.write(manifest=files.manifest(started="2024-01-01T00:00:00+00:00"))
    if as_link:
        os.symlink("gone", runs / "last")
    else:
        (runs / "last").write_text("gone\n")
    assert mend_last(runs) == "a-2"
    assert (runs / "last").resolve().name == "a-2" or (runs / "last").read_text() == "a-2\n"
    assert mend_last(runs) == "a-2"
    for name in ("a-1", "a-2"):
        remove_run(runs / name)
    assert mend_last(runs) is None
    assert list(runs.iterdir()) == []


def test_where_there_is_no_last_none_is_made(make_run):
    runs = make_run("a-1").write().parent
    assert mend_last(runs) is None
    assert {path.name for path in runs.iterdir()} == {"a-1"}


def test_a_rule_without_conditions_is_empty():
    assert PruneRule().empty
    assert not evolve(PruneRule(), keep=0).empty
