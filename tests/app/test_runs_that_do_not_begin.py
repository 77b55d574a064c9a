"""A run that a sink keeps from beginning leaves nothing behind."""

import pytest
from click.testing import CliRunner

from esper_app.cli.root import cli
from esper_runs.run_list import last_of

#: Neither file may be written there: the second sink refuses, when the first one is open.
REFUSED = ("--set", 'sinks.names=["jsonl", "sqlite"]', "--set", "sinks.sqlite.path=notes.txt")


@pytest.mark.parametrize("command", [("run", "digits"), ("train", "digits", "--rounds", "1")])
@pytest.mark.parametrize("earlier", [None, "digits-1"])
def test_it_leaves_no_directory_and_last_leads_where_it_led(tmp_path, monkeypatch, command, earlier):
    monkeypatch.chdir(tmp_path)
    runs = tmp_path / "runs"
    runs.mkdir()
    if earlier:
        (runs / earlier).mkdir()
        (runs / "last").symlink_to(earlier)
    for name in ("first", "first"):  # the name is free again
        done = CliRunner().invoke(cli, [*command, *REFUSED, "--set", f"name={name}"])
        assert done.exit_code == 1, done.output
        assert 'the sink "sqlite" cannot write' in done.output
    assert {it.name for it in runs.iterdir()} == ({earlier, "last"} if earlier else set())
    assert last_of(runs) == earlier
