"""`esper events`: what is printed, and what is refused."""

import json
import sqlite3
from contextlib import closing

import pytest
from click.testing import CliRunner

from esper_app.cli.root import cli
from esper_core.leyline.events import EventKind
from esper_runs.event_database import EventRows, create_tables


@pytest.fixture
def run(make_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    make_run().short_life().write()

    def call(*arguments, code=0):
        done = CliRunner().invoke(cli, ["events", *arguments])
        assert done.exit_code == code, done.output
        return done.stdout if code == 0 else done.stderr

    return call


def test_a_found_event_is_a_line_in_words(run):
    (line,) = [it for it in run("search", "digits-1", "learn", "--kind", "seed_transition").splitlines() if "b-0" in it]
    assert line.split()[1:5] == ["7", "grown", "seed_transition", "b-0"]
    assert "conv-light: TRAINING → CULLED, by timeout: it did not learn" in line


@pytest.mark.parametrize("option", ["--epochs", "--epoch"])
def test_as_data_it_is_the_event(run, option):
    (event,) = json.loads(run("search", "digits-1", option, "8", "--slot", "a", "--where", "op=FOSSILIZE", "--json"))
    assert (event["kind"], event["epoch"], event["data"]["confidence"]) == ("action_decided", 7, 0.9)


def test_the_file_of_the_sink_is_searched(run, make_run, tmp_path):
    with closing(sqlite3.connect(tmp_path / "runs" / "digits-1" / "events.sqlite")) as connection:
        create_tables(connection)
        EventRows("digits-1").insert(connection, make_run().short_life().events)
        connection.commit()
    (tmp_path / "runs" / "digits-1" / "events.jsonl").unlink()
    assert len(json.loads(run("search", "digits-1", "--host", "twin", "--json"))) == 10


def test_nothing_found_is_said_and_a_kind_that_is_none_is_named(run):
    assert run("search", "digits-1", "unheard") == "no event is found\n"
    assert 'did you mean "seed_transition"?' in run("search", "digits-1", "--kind", "seed_transitions")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("search", "digits-1", "--epochs", "0"), "contains no epoch"),
        (("search", "digits-1", "--where", "slot"), "path=value"),
        (("schema", "--kind", "epoch_complete"), 'did you mean "epoch_completed"?'),
        (("search", "nowhere"), "E505"),
    ],
)
def test_what_makes_no_sense_is_refused(run, arguments, said):
    assert said in run(*arguments, code=2)


def test_what_a_terminal_would_obey_is_not_printed(run, make_run):
    files = make_run("digits-2")
    files.event(EventKind.NOTICE, {"message": "\x1b[2Jgone"}, host="")
    files.write()
    for options in ((), ("--json",)):
        assert "\x1b" not in run("search", "digits-2", "gone", *options)


def test_the_schema_is_printed_whole_or_for_a_kind(run):
    assert set(json.loads(run("schema"))["$defs"]) >= set(EventKind)
    transition = json.loads(run("schema", "--kind", "seed_transition", "--closed"))
    assert transition["required"][:3] == ["slot", "seed_id", "blueprint"]
    assert transition["additionalProperties"] is False
