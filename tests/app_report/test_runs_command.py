"""`esper runs` and `esper runs prune` on handmade runs."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from esper_app.cli.root import cli


@pytest.fixture
def esper_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")

    def run(*arguments: str, code: int = 0, answer: str | None = None) -> str:
        done = CliRunner().invoke(cli, ["runs", *arguments], input=answer)
        assert done.exit_code == code, done.output
        return done.output

    return run


@pytest.fixture
def three(make_run, tmp_path):
    """Three runs, a day between each two; `last` leads to the newest."""
    for day, (name, outcome) in enumerate((("a-1", "completed"), ("a-2", "interrupted"), ("a-3", "completed")), 1):
        files = make_run(name)
        manifest = files.manifest(started=f"2023-11-{day:02d}T00:00:00+00:00")
        files.write(manifest=manifest, result=files.result(outcome=outcome))
    os.symlink("a-3", tmp_path / "runs" / "last")
    return tmp_path / "runs"


def names(runs: Path) -> set[str]:
    return {path.name for path in runs.iterdir()}


def test_the_newest_run_comes_first_with_what_came_of_it(three, esper_runs):
    header, _, *rows = esper_runs().splitlines()
    assert [row.split()[0] for row in rows] == ["a-3", "a-2", "a-1"]
    assert header.split()[:5] == ["RUN", "TASK", "POLICY", "SEED", "OUTCOME"]
    assert rows[0].startswith("a-3 (last)")
    told = " ".join(rows[1].split())
    assert told.startswith("a-2 digits heuristic 7 interrupted 10/10 90.0 % 80.0 % +10.0 points 1,030 2023-11-02 00:00")


@pytest.mark.parametrize(("columns", "left_out"), [(80, "POLICY"), (100, "PARAMETERS"), (125, "SIZE")])
def test_a_narrow_list_leaves_out_what_matters_least(three, make_run, esper_runs, monkeypatch, columns, left_out):
    files = make_run("b-1")
    result = files.result()
    one, twin = result["hosts"]["grown"], result["hosts"]["twin"]
    result["hosts"] = {f"grown-{it}": one for it in (1, 2)} | {f"twin-{it}": twin for it in (1, 2)}
    result |= {"twins": {f"grown-{it}": f"twin-{it}" for it in (1, 2)}}
    result |= {"differences": {f"grown-{it}": result["difference"] for it in (1, 2)}}
    files.write(result=result)
    monkeypatch.setenv("COLUMNS", str(columns))
    shown = esper_runs()
    header, *rows = shown.splitlines()
    assert max(map(len, [header, *rows])) <= columns
    assert {"HOSTS", "GROWN", "DIFFERENCE"} <= {*header.split()}
    assert left_out not in header
    assert "Of several hosts the figures are means" in shown


def test_no_runs_are_no_error(esper_runs):
    assert esper_runs() == "no runs in runs\n"
    assert json.loads(esper_runs("--json")) == []


def test_the_list_is_data_on_request(three, esper_runs):
    records = json.loads(esper_runs("--json"))
    assert [record["name"] for record in records] == ["a-3", "a-2", "a-1"]
    assert records[0]["difference"] == pytest.approx(0.1)
    assert records[0]["last"]
    assert records[0]["bytes"] == sum(path.stat().st_size for path in (three / "a-3").iterdir())


def test_another_directory_is_listed(three, esper_runs, tmp_path):
    three.rename(tmp_path / "old")
    assert "a-3" in esper_runs("--runs", "old")
    assert "a-2" in esper_runs("prune", "--runs", "old", "--outcome", "interrupted", "--dry-run")
    assert "a-2" in esper_runs("--runs", "old", "prune", "--outcome", "interrupted", "--dry-run")


def test_pruning_asks_and_takes_no_for_an_answer(three, esper_runs):
    text = esper_runs("prune", "--keep", "1", code=1, answer="n\n")
    assert "Remove 2 runs" in text
    assert names(three) == {"a-1", "a-2", "a-3", "last"}
    esper_runs("prune", "--keep", "1", code=1, answer="")
    assert names(three) == {"a-1", "a-2", "a-3", "last"}
    assert "removed 2 runs" in esper_runs("prune", "--keep", "1", answer="y\n")
    assert names(three) == {"a-3", "last"}


def test_a_dry_run_removes_nothing(three, esper_runs):
    text = esper_runs("prune", "--keep", "0", "--dry-run", "--yes")
    assert "a-1" in text
    assert 'left alone: a-3 ("last" leads to it)' in text
    assert "nothing is removed" in text
    assert names(three) == {"a-1", "a-2", "a-3", "last"}


def test_conditions_are_joined(three, esper_runs):
    esper_runs("prune", "--keep", "1", "--outcome", "completed", "--yes")
    assert names(three) == {"a-2", "a-3", "last"}
    assert "nothing is removed" in esper_runs("prune", "--older-than", "999999", "--yes")
    esper_runs("prune", "--older-than", "1.5", "--outcome", "interrupted", "--yes")
    assert names(three) == {"a-3", "last"}


def test_pruning_without_a_condition_is_a_mistake(three, esper_runs):
    assert "--keep" in esper_runs("prune", "--yes", code=2)
    assert names(three) == {"a-1", "a-2", "a-3", "last"}


def test_the_last_run_goes_if_it_is_named_and_last_follows(three, esper_runs):
    assert "last is a-2" in esper_runs("prune", "a-3", "--yes")
    assert os.readlink(three / "last") == "a-2"
    esper_runs("prune", "a-1", "a-2", "--yes")
    assert names(three) == set()


def test_a_name_that_is_not_there_comes_with_the_nearest(three, esper_runs):
    text = esper_runs("prune", "a-3", "a-33", "--yes", code=2)
    assert "E505" in text
    assert 'did you mean "a-3"?' in text
    assert names(three) == {"a-1", "a-2", "a-3", "last"}


@pytest.mark.parametrize("name", ["../elsewhere", "last", "."])
def test_only_runs_of_the_directory_can_be_named(three, esper_runs, tmp_path, name):
    (three / "a-1").rename(tmp_path / "elsewhere")
    assert "E505" in esper_runs("prune", name, "--yes", code=2)
    assert (tmp_path / "elsewhere" / "manifest.json").is_file()
    assert (three / "a-3").is_dir()


def test_json_belongs_to_the_list(three, esper_runs):
    assert "--json" in esper_runs("--json", "prune", "--keep", "0", code=2)
