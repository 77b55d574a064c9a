"""What the command tells the shell: one table, and each end of a run has its own code."""

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from esper_app.cli.root import RootGroup
from esper_app.exit_codes import MEANINGS, exit_code_of
from esper_core.leyline.errors import CODES, ExitCode


def result(outcome="completed", loss=0.5, **sinks):
    names = ("delivered", "dropped", "errors")
    counts = {name: dict(zip(names, numbers, strict=True)) for name, numbers in sinks.items()}
    return {"outcome": outcome, "hosts": {"grown": {"test_loss": loss}, "twin": {"test_loss": 0.4}}, "sinks": counts}


def test_every_code_has_a_meaning_and_a_use():
    assert list(MEANINGS) == list(ExitCode)
    of_errors = {code for _, code in CODES.values()}
    of_runs = {ExitCode.OK, ExitCode.WENT_WRONG, ExitCode.SINKS, ExitCode.INTERNAL, ExitCode.INTERRUPTED}
    assert of_errors | of_runs == set(ExitCode)


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (result(), ExitCode.OK),
        (result(loss=None), ExitCode.OK),
        (result("stopped"), ExitCode.WENT_WRONG),
        (result(loss=float("nan")), ExitCode.WENT_WRONG),
        (result(loss=float("inf")), ExitCode.WENT_WRONG),
        (result("interrupted", float("nan")), ExitCode.INTERRUPTED),
        (result(jsonl=(0, 0, 0)), ExitCode.OK),
        (result(jsonl=(10, 0, 0), board=(0, 9, 0)), ExitCode.SINKS),
        (result(jsonl=(10, 0, 0), board=(9, 1, 1)), ExitCode.SINKS),
        (result(board=(3, 9, 0)), ExitCode.OK),
        (result(board=(9, 0, 1)), ExitCode.OK),
        (result("stopped", board=(0, 9, 1)), ExitCode.WENT_WRONG),
    ],
)
def test_the_end_of_a_run_decides(given, code):
    assert exit_code_of(given) is code


def test_a_twin_without_a_number_is_wrong_too():
    spoilt = result()
    spoilt["hosts"]["twin"]["test_loss"] = float("nan")
    assert exit_code_of(spoilt) is ExitCode.WENT_WRONG


def test_the_table_in_the_documentation_is_made_from_the_code():
    tool = Path(__file__).parents[2] / "tools/exit_code_table.py"
    done = subprocess.run([sys.executable, tool, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_has_no_code_is_an_internal_fault_with_its_place_and_nothing_raw():
    def fail():
        raise ZeroDivisionError("\x1b[2Jfloat")

    root = RootGroup("esper")
    root.add_command(click.Command("fail", callback=fail))
    done = CliRunner().invoke(root, ["fail"])
    assert done.exit_code == ExitCode.INTERNAL == 70
    assert "ZeroDivisionError" in done.stderr
    assert "please report" in done.stderr
    assert "\x1b" not in done.output


def test_a_reader_that_has_had_enough_is_no_fault(tmp_path):
    ours, theirs = os.pipe()
    os.close(ours)
    command = [sys.executable, "-m", "esper_app.cli", "config", "show", "digits"]
    with os.fdopen(theirs, "w") as output:
        done = subprocess.run(command, cwd=tmp_path, stdout=output, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == ""


def test_a_pipe_to_another_process_that_breaks_is_told():
    def fail():
        raise BrokenPipeError(32, "Broken pipe")

    root = RootGroup("esper")
    root.add_command(click.Command("fail", callback=fail))
    done = CliRunner().invoke(root, ["fail"])
    assert done.exit_code == ExitCode.INTERNAL
    assert "BrokenPipeError" in done.stderr
