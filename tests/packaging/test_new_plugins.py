"""What `esper plugins new` writes is sound: installed, checked, tested, typed, and used by a run."""

import csv
import json
import subprocess
import sys

import pytest

from esper_app_new.scaffold.names import KINDS_TO_WRITE, names

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

every_kind = pytest.mark.parametrize("word", KINDS_TO_WRITE)


@pytest.fixture(scope="module")
def written(workshop):
    """The folder of a new plugin of each kind, all of them installed."""
    for word in KINDS_TO_WRITE:
        workshop.esper("plugins", "new", word, "foo")
    folders = {word: workshop.work / names(kind, "foo").distribution for word, kind in KINDS_TO_WRITE.items()}
    # One build backend for all of them, instead of an environment to build each.
    workshop.pip("install", "--quiet", "--no-compile", "hatchling>=1.27")
    workshop.pip("install", "--quiet", "--no-compile", "--no-deps", "--no-build-isolation", *folders.values())
    return folders


def test_all_are_active(workshop, written):
    records = workshop.plugins()
    found = {word: records[folder.name] for word, folder in written.items()}
    assert {word: (record["status"], record["problem"]) for word, record in found.items()} == dict.fromkeys(
        KINDS_TO_WRITE, ("active", None)
    )


@every_kind
def test_its_own_tests_pass(workshop, written, word):
    output = workshop.python("-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=written[word])
    assert " passed" in output
    assert "warning" not in output


@every_kind
def test_its_types_are_right(workshop, written, word):
    workshop.python("-m", "mypy", "--cache-dir", workshop.folder / "mypy", cwd=written[word])


@every_kind
def test_its_code_is_in_order(written, word):
    for check in (("check",), ("format", "--check")):
        subprocess.run([sys.executable, "-m", "ruff", *check, "--no-cache"], cwd=written[word], check=True)


@every_kind
def test_its_wheel_is_typed_and_licensed(workshop, written, word):
    (info,) = (workshop.folder / "venv").glob(f"lib/python3*/site-packages/{written[word].name.replace('-', '_')}-*")
    package = info.parent / written[word].name.replace("-", "_")
    assert (package / "py.typed").is_file()
    assert (info / "licenses" / "LICENSE").is_file()
    assert not (info.parent / "tests").exists()


def test_a_run_uses_all_of_them_together(workshop, written):
    settings = (
        "epochs=12",
        "host.name=foo",
        "host.widths=[4, 8]",
        "policy.name=foo",
        'policy.blueprints=["foo"]',
        "gates.name=foo",
        'rewards.terms=[{name = "foo"}]',
        'sinks.names=["foo", "jsonl"]',
    )
    workshop.esper("run", "foo", *(word for setting in settings for word in ("--set", setting)))
    run = workshop.work / "runs" / "foo-1"
    result = json.loads((run / "result.json").read_text())
    assert result["outcome"] == "completed"
    assert {seed["blueprint"] for seed in result["seeds"]} == {"foo"}
    assert any(result["rewards"])
    with (run / "events.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["sequence"]) for row in rows] == list(range(len(rows)))
    assert any("DORMANT to GERMINATED (the host underfits)" in row["text"] for row in rows)
